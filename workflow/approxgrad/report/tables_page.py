"""The tables of a study as one page, to search and to sort, in bounded size."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from approxgrad.report.pages import compressed, page, template

TITLE = "The tables of this study"
MOST_BYTES = 1_000_000
"""Of the compressed tables: Chromium opens a page inside a report only up to 1.5 MB."""


def tables_page(files: Mapping[str, Path | str]) -> str:
    """Return a page with the CSV `files` of a study, by their names for readers.

    Of tables for which there is no room, the page has the first rows and says so.
    """
    tables = [_table(name, Path(path)) for name, path in files.items()]
    data = _packed(tables)
    while len(data) > MOST_BYTES:
        longest = max(tables, key=lambda table: len(table["rows"]) * len(table["header"]))
        longest["rows"] = longest["rows"][: len(longest["rows"]) // 2]
        data = _packed(tables)
    styles = [template(name) for name in ("choices.css", "tables.css")]
    scripts = [template(name) for name in ("unzip.js", "tables.js")]
    return page(TITLE, template("tables.html").replace("{{ data }}", data), scripts=scripts, styles=styles)


def _table(name: str, path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {"name": name, "file": str(path), "header": header, "all": len(rows), "rows": rows}


def _packed(tables: list[dict[str, Any]]) -> str:
    return compressed(json.dumps(tables, separators=(",", ":")))
