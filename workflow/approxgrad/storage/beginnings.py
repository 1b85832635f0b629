"""What a file is likely to be, by how it begins, where it is not what it was taken for."""

from __future__ import annotations

import codecs
import json
import zipfile
from pathlib import Path

BEGINNINGS = {
    b"version https://git-lfs": "it is a pointer of Git LFS; `git lfs pull` fetches the file",
    b"<!doctype html": "it is a page of the web; was the file downloaded through one?",
    b"<html": "it is a page of the web; was the file downloaded through one?",
    b"<?xml": "it is XML",
    b"%PDF-": "it is a PDF",
    b"PAR1": "it is a .parquet file",
    b"\x89HDF": "it is an HDF5 file",
    b"\xd0\xcf\x11\xe0": "it is a spreadsheet of the old kind",
    b"\x1f\x8b": "it is compressed, and its name should end in .gz",
    b"BZh91AY&SY": "it is compressed, and its name should end in .bz2",
    b"\xfd7zXZ": "it is compressed, and its name should end in .xz",
    b"\x93NUMPY": "it is a NumPy array",
    b"@relation": "it is an ARFF file",
}
"""First bytes of files, in lower case where they are words."""

TORCH_ARCHIVES = {
    "constants.pkl": "it is a TorchScript archive; torch.jit.load(path).state_dict() has its weights",
    "archive_format": "it is a program of torch.export; torch.export.load(path).state_dict has its weights",
}
"""Members of zip archives that torch writes and that are no state dictionary."""

HEAD = 64  # bytes that are looked at


def recognised(path: Path) -> str:
    """Return what a file is likely to be, with what helps; empty if it is nothing that is known or cannot be read.

    Parameters
    ----------
    path : path
        The file, of which the first bytes are read, and the contents of a zip archive or a small file of JSON.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if not head:
            return "it is empty"
        if zipfile.is_zipfile(path):
            return _in_archive(path)
        if head.lstrip().startswith((b"{", b"[")):
            return _in_json(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        return ""
    texts = (head, head.removeprefix(codecs.BOM_UTF8).lower())
    return next((words for start, words in BEGINNINGS.items() if any(text.startswith(start) for text in texts)), "")


def _in_archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "[Content_Types].xml" in names:
        return "it is a spreadsheet or another office file"
    other = "" if "data.pkl" in names else "it is a .zip file"
    return next((words for name, words in TORCH_ARCHIVES.items() if name in names), other)


def _in_json(path: Path) -> str:
    if path.stat().st_size > 2**24:
        return "it is JSON"
    content = json.loads(path.read_bytes())
    if isinstance(content, dict) and "weight_map" in content:
        return "it lists weights that lie in several files; join these into one, as of safetensors.torch.save_file"
    return "it is JSON"
