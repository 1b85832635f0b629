"""Numbers and names as they stand in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from approxgrad.figures.style import setting_label

MOST_DECIMALS = 6


def number(value: float) -> str:
    """Return a number with three significant digits, in full between 0.0001 and a million."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e").replace("-", "−")
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", "−")


def correlation(value: float) -> str:
    """Return a correlation with three decimals; near one with as many as tell it from one, six at most."""
    distance = 1 - abs(value)
    decimals = 3 if distance <= 0 else max(3, min(MOST_DECIMALS, math.ceil(-math.log10(distance))))
    text = f"{value:.{decimals}f}"
    return (
        f"more than {1 - 10**-MOST_DECIMALS:.{MOST_DECIMALS}f}" if float(text) == 1 > value else text.replace("-", "−")
    )


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal, or three significant digits if that would show zero."""
    if share and abs(100 * share) < 0.05:
        return f"{number(100 * share)} %"
    return f"{100 * share:.1f} %".replace("-", "−")


def setting(value: float | None, family: Mapping[str, Any]) -> str:
    """Return a setting with its symbol, "h = 0.01"; one whose name is in the plural is counted: "64 evaluations".

    A family without settings, whose value is None or NaN, is called by its label.
    """
    if value is None or math.isnan(value):
        return str(family["label"])
    text = setting_label(value)
    name = str(family["setting_name"])
    return f"{text} {name}" if name.endswith("s") else f"{family['symbol']} = {text}"


def count(quantity: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 model", "1,797 rows"."""
    return f"{quantity:,} {noun if quantity == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def share_of(part: int, whole: int, noun: str) -> str:
    """Return "all 4 settings", "2 of 4 settings" or "none of 4 settings"."""
    first = f"all {whole:,}" if part == whole > 1 else f"{part:,} of {whole:,}" if part else f"none of {whole:,}"
    return f"{first} {noun if whole == 1 else noun + 's'}"
