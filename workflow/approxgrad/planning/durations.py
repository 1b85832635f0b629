"""Times in words."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Return a time in words, with two digits or a tenth of a second."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds >= 10 * 3600 else f"{seconds / 3600:.1f} h"
