"""Pages of the report: HTML that stands alone in one file and loads nothing."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"

# Whoever opens a page can see that it has no way to reach the network. Vega compiles its expressions with `eval`.
POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"


@dataclass(frozen=True)
class Table:
    """Rows of text below a header, with a caption; columns of numbers stand flush right."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """Return the table as HTML that scrolls by itself where the page is too narrow."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        body = "\n".join("<tr>" + "".join(_cell(text) for text in row) + "</tr>" for row in self.rows)
        return (
            f"<figure>\n<figcaption>{escape(self.caption)}</figcaption>\n"
            f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(self.caption)}"><table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n</figure>"
        )


@dataclass(frozen=True)
class Picture:
    """A drawn figure with a caption; its file, SVG or PNG, becomes part of the page."""

    path: Path
    caption: str

    def html(self) -> str:
        """Return the picture as HTML."""
        kind = {".svg": "svg+xml", ".png": "png"}[self.path.suffix]
        # In lines, which browsers join again: docutils, which puts pages into a report, takes no long ones.
        data = base64.encodebytes(self.path.read_bytes()).decode("ascii")
        image = f'<img alt="{escape(self.caption)}" src="data:image/{kind};base64,{data}">'
        return f'<figure class="picture">\n{image}\n<figcaption>{escape(self.caption)}</figcaption>\n</figure>'


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, points (a lead in bold and a text), a picture and a table.

    A table that is `folded` shows its heading alone until it is opened.
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[tuple[str, str]] = ()
    picture: Picture | None = None
    table: Table | None = None
    folded: bool = False

    def html(self) -> str:
        """Return the section as HTML; nothing if there is nothing in it but a picture."""
        parts = [f"<p>{_text(text)}</p>" for text in self.paragraphs]
        if self.points:
            items = (f"<li><strong>{escape(lead)}</strong> {_text(text)}</li>" for lead, text in self.points)
            parts.append("<ul>\n" + "\n".join(items) + "\n</ul>")
        if self.table is not None and self.table.rows:
            parts.append(self.table.html())
        if not parts:
            return ""
        if self.folded:
            count = 0 if self.table is None else len(self.table.rows)
            rows = f" ({count:,} row{'' if count == 1 else 's'})" if count else ""
            return "\n".join([f"<details><summary>{escape(self.title)}{rows}</summary>", *parts, "</details>"])
        parts += [] if self.picture is None else [self.picture.html()]
        return "\n".join([f"<h2>{escape(self.title)}</h2>", *parts])


def sections_html(sections: Sequence[Section]) -> str:
    """Return sections below each other."""
    return "\n".join(filter(None, (section.html() for section in sections)))


def page(title: str, body: str, *, scripts: Sequence[str] = (), styles: Sequence[str] = ()) -> str:
    """Return a whole HTML page: title and first heading, `body` in HTML below it, source text of scripts and styles."""
    if any("</script" in script.lower() for script in scripts):
        raise ValueError("scripts: one contains the end tag of a script")
    css = "\n".join([template("page.css"), *styles])
    blocks = "\n".join(f"<script>\n{script}\n</script>" for script in scripts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n{blocks}\n</body>\n</html>\n"
    )


def compressed(text: str) -> str:
    """Return text as a page holds it for ``unzip`` in ``unzip.js``: Chromium opens no large page inside a report."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


def template(name: str) -> str:
    """Return the text of a file that the pages are made from."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _text(text: str) -> str:
    """Return text as HTML in which no line ends inside ``h = 0.1`` or ``95 %``."""
    return escape(re.sub(r"(?<==) (?=[\d−])|(?<=\b\w) (?==)|(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text))


def _cell(text: str) -> str:
    numeric = bool(text) and text.lstrip("−")[:1].isdigit()
    return f'<td class="number">{escape(text)}</td>' if numeric else f"<td>{escape(text)}</td>"
