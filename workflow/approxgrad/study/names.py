"""Names that stay text: they are folders of the tables, and most readers of tables guess types from folder names."""

from __future__ import annotations

import re

WORDS = frozenset({"nan", "na", "null", "none", "nil", "inf", "infinity", "true", "false", "yes", "no", "epoch"})
"""What pandas, Arrow, Polars, DuckDB or YAML reads as a missing value, a number, a truth value or a date."""

FORMS = re.compile(
    r"""
    [0-9_-]+                           # 7, 007, 1_000, 2024-01-01
    | 0x[0-9a-f_]+ | 0[ob][0-7_]+      # other bases
    | [0-9_]+e-?[0-9_]+                # 1e5
    | [0-9-]+t[0-9-]+z?                # 2024-01-01T1030
    """,
    re.VERBOSE | re.IGNORECASE,
)


def check_name(name: str) -> str:
    """Return a name that every reader of the tables takes for text.

    Raises a ValueError if some reader takes it for a number, a date, a truth value or a missing value.
    """
    if name.lower() in WORDS or FORMS.fullmatch(name):
        raise ValueError(
            "which readers of the tables take for a number, a date, a truth value or a missing value; "
            f"choose another name, such as x{name}"
        )
    return name
