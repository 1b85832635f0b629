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
        file=sys.stderr if sys.stderr.isatty() else Lines(),
    )


class Lines:
    """A log, in which each state of a bar is a line of its own, so that lines of other jobs do not stand behind it."""

    def write(self, text: str) -> None:
        """Write the state of a bar; what only clears the place of the last one is left out."""
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        """Write what is held back."""
        sys.stderr.flush()
