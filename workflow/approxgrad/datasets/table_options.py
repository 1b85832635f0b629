"""The options of tables that are groups of their own: files, arrays, and how text files are written."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from approxgrad.descriptions import Description, Flag, Integer, Text, option

Named = Annotated[Text, option("", min_length=1)]
Columns = tuple[Named, ...]
Pair = tuple[Text, Text]

TEXT_FILES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ",", ".data": ","}
"""Endings of text files, and what separates their fields unless the options say otherwise."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
"""Endings after those of text files that say how these are compressed."""

SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")

WORDS = {"tab": "\t", "space": r"\s+"}
"""Separators with a name; a space is any white space."""


@dataclass(frozen=True)
class Files(Description):
    """One file for each part."""

    train: Annotated[Named, option("Rows to train on.")]
    test: Annotated[Named, option("Rows that are attributed and tested on.")]
    validation: Annotated[
        Named | None, option("Rows that choose the best epoch; by default some of the training rows.")
    ] = None


@dataclass(frozen=True)
class Arrays(Description):
    """Names of arrays: features and target of all rows or of each part, and effects."""

    all: Annotated[Pair | None, option("Features and target of all rows, which are split at random.")] = None
    train: Annotated[Pair | None, option("Features and target of the rows to train on.")] = None
    validation: Annotated[Pair | None, option("Features and target of the rows that choose the best epoch.")] = None
    test: Annotated[Pair | None, option("Features and target of the rows that are attributed and tested on.")] = None
    effects: Annotated[Text | None, option("True effects of the features, for the rows of `all` or `test`.")] = None


@dataclass(frozen=True)
class CsvFormat(Description):
    """How text files are written."""

    separator: Annotated[
        Text | None,
        option(
            "Between two fields: one character, `tab`, or `space` for any white space; by default a tab in .tsv and"
            " .tab files and a comma in others.",
            min_length=1,
        ),
    ] = None
    decimal: Annotated[Literal[".", ","], option("Decimal mark of numbers.")] = "."
    thousands: Annotated[Literal[".", ",", " ", "'"] | None, option("Mark between the thousands of numbers.")] = None
    encoding: Annotated[Text, option("Of the text, such as utf-8, utf-16, latin-1 or cp1252.")] = "utf-8"
    missing_marks: Annotated[Columns, option("Text that stands for a missing value, as an empty field does.")] = ()
    header: Annotated[
        Flag, option("Whether the first row holds the names of the columns; without, they are 1, 2, 3, ....")
    ] = True
    skip: Annotated[Integer, option("Lines before the header or the first row that are passed over.", ge=0)] = 0

    def separates(self, path: Path | str) -> str:
        """Return what separates the fields of a file."""
        own = self.separator or TEXT_FILES[ending(path)]
        return WORDS.get(own, own)

    def faults(self) -> list[str]:
        """Return a line for an encoding that is not known, or for marks that contradict each other."""
        if self.separator not in (None, *WORDS) and len(self.separator or "") != 1:
            return [f"csv.separator: got {self.separator!r}, expected one character, tab or space"]
        if self.decimal == self.thousands:
            return [f"csv.thousands: got {self.thousands!r}, which is the decimal mark"]
        try:
            known = codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        return [] if known else [f"csv.encoding: got {self.encoding!r}, expected one that Python knows"]


PLAIN_CSV = CsvFormat()


def ending(path: Path | str) -> str:
    """Return the ending of a file's name that says what is in it, in lower case, without that of its compression."""
    endings = [own.lower() for own in Path(path).suffixes]
    if len(endings) > 1 and endings[-1] in COMPRESSED and endings[-2] in TEXT_FILES:
        return endings[-2]
    return endings[-1] if endings else ""


def ending_fault(key: str, path: str) -> str:
    """Return why columns cannot be read from a file with such a name; empty if they can."""
    if ending(path) in (*TEXT_FILES, ".parquet"):
        return ""
    if ending(path) in SPREADSHEETS:
        return f"{key}: got {path!r}, a spreadsheet; save the sheet as .csv (in Excel: Save As, CSV UTF-8)"
    hint = ", or .npz together with `arrays`" if key == "path" else ""
    also = f"; .csv, {', '.join(list(TEXT_FILES)[1:])} may be compressed, as .csv.gz"
    return f"{key}: got {path!r}, expected a file that ends in .csv or .parquet{hint}{also}"
