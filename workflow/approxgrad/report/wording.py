"""Numbers and names as they stand in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from approxgrad.figures.style import setting_label

MOST_DECIMALS = 6


def number(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, in full between 0.0001 and a million."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e6:
        text = f"{value:.{digits - 1}e}"
        return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e").replace("-", "−")
    # The exponent of the rounded value: 9.96 has two digits as 10.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}".replace("-", "−")


def correlations(*values: float) -> list[str]:
    """Return correlations that stand in one sentence, all with as many decimals as the nearest to one needs.

    They are three at least and six at most.
    """
    decimals = max(map(_decimals, values))
    texts = [f"{value:.{decimals}f}".replace("-", "−") for value in values]
    one, almost = f"{1:.{decimals}f}", f"more than {1 - 10**-decimals:.{decimals}f}"
    return [almost if text == one and value < 1 else text for text, value in zip(texts, values, strict=True)]


def _decimals(value: float) -> int:
    distance = 1 - abs(value)
    return 3 if distance <= 0 else max(3, min(MOST_DECIMALS, math.ceil(-math.log10(distance))))


def correlation(value: float) -> str:
    """Return a correlation that stands alone."""
    return correlations(value)[0]


def percent(share: float, digits: int = 2) -> str:
    """Return a share as a percentage with two significant digits, from 10 % on in full."""
    return f"{number(100 * share, digits)} %"


def span(low: str, high: str) -> str:
    """Return "1 % to 2 %", or "1 %" if the two are the same."""
    return low if low == high else f"{low} to {high}"


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
    """Return "all 4 settings", "2 of 4 settings", "none of 4 settings" or "the only setting"."""
    if part == whole == 1:
        return f"the only {noun}"
    first = f"all {whole:,}" if part == whole else f"{part:,} of {whole:,}" if part else f"none of {whole:,}"
    return f"{first} {noun if whole == 1 else noun + 's'}"
