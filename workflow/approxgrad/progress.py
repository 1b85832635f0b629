"""Progress of long work."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

QUIET_SECONDS = 5
"""Shorter work shows nothing."""


def progress_bar(total: int, description: str, unit: str) -> tqdm[Any]:
    """Return a progress bar on standard error: live on a terminal, a line every half minute in a log."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=True,
        delay=QUIET_SECONDS,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        file=sys.stderr,
    )
