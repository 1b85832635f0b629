"""Parts of docs/performance.md that have their own tables: what stands between two marks is written again."""

from __future__ import annotations

from pathlib import Path


def write_between(page: Path, name: str, text: str) -> None:
    """Put a text between the marks of that name, if a page has them."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    whole = page.read_text()
    if start in whole:
        head, _, rest = whole.partition(start)
        page.write_text(f"{head}{start}\n{text}\n{end}{rest.partition(end)[2]}")
