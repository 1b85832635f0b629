"""Writes docs/licences.md: the licence of every package in requirements.lock, as the installed packages state it."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PAGE = ROOT / "docs" / "licences.md"

ELSEWHERE = "not installed here: for another system"
UNSTATED = "not stated"

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
    *("CC0-1.0", "MIT", "MIT-CMU", "PSF-2.0", "Public domain", "Zlib"),
}

EXCEPTIONS = {
    "certifi": "weak copyleft, for changes of its own files; unchanged here",
    "docutils": "public domain and BSD; the GPL is that of one file for an editor, which is not used",
    "hypothesis": "weak copyleft, for changes of its own files; for tests only",
    "pathspec": "weak copyleft, for changes of its own files; for checks of types and style only",
    "tqdm": "weak copyleft, for changes of its own files; unchanged here",
}
"""Packages whose licence is not only permissive, and why they are used all the same."""

NVIDIA = "proprietary: the terms of NVIDIA apply; comes with torch or XGBoost on Linux and is used on a GPU only"

SPELLINGS = {
    "apache software license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "bsd license": "BSD",
    "3-clause bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "mit license (mit)": "MIT",
    "the mit license (mit)": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "public domain": "Public domain",
    "gnu general public license (gpl)": "GPL",
    "licenseref-nvidia-proprietary": "NVIDIA proprietary",
    "nvidia proprietary software": "NVIDIA proprietary",
    "other/proprietary license": "NVIDIA proprietary",
}


def locked(lock: Path = LOCK) -> list[str]:
    """Return the names of all packages of the lock, each once."""
    return sorted(set(re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", lock.read_text(), re.MULTILINE)))


def licence(name: str) -> list[str]:
    """Return the licences that an installed package states, in SPDX's spelling where there is one.

    They are read from the licence expression, else from the classifiers, the licence field or the first line of a
    licence file, whichever comes first.
    """
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return [ELSEWHERE]
    metadata = package.metadata
    expression = metadata.get("License-Expression")
    if expression:
        stated = re.split(r" (?:AND|OR) ", expression)
    else:
        named = [text for text in metadata.get_all("Classifier", []) if "License ::" in text]
        classifiers = [text.split(" :: ")[-1] for text in named if text != "License :: OSI Approved"]
        stated = classifiers or re.split(r" AND ", _first_line(metadata.get("License")) or _licence_file(package))
    return list(dict.fromkeys(SPELLINGS.get(text.strip().lower(), text.strip()) for text in stated))


def remark(name: str, licences: list[str]) -> str:
    """Return what is to be known about a licence that is not only permissive; raise an error for one not foreseen."""
    if name.startswith(("nvidia-", "cuda-toolkit")):
        return NVIDIA
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]
    if set(licences) <= {*PERMISSIVE, ELSEWHERE}:
        return ""
    raise ValueError(f"{name}: licence is {', '.join(licences)}, expected one of {', '.join(sorted(PERMISSIVE))}")


def page(names: list[str]) -> str:
    """Return the page."""
    lines = [
        "# Licences of the dependencies",
        "",
        "Of every package of `requirements.lock`, direct or not, as the installed packages state it. Written by",
        "`python docs/licences.py`; a test compares it with the lock. approxgrad itself is under the MIT licence and",
        "contains none of them.",
        "",
        "| package | licence | remark |",
        "|---|---|---|",
    ]
    for name in names:
        licences = licence(name)
        lines.append(f"| {name} | {', '.join(licences)} | {remark(name, licences)} |")
    return "\n".join(lines) + "\n"


def _first_line(text: str | None) -> str:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")


def _licence_file(package: Distribution) -> str:
    for file in package.files or []:
        if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            return _first_line(Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")) or UNSTATED
    return UNSTATED


if __name__ == "__main__":
    PAGE.write_text(page(locked()), encoding="utf-8")
