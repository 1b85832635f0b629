"""Digests of files: they show that code, data or weights have changed, whatever the files' times say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from approxgrad.provenance.dependencies import PACKAGE_ROOT

LARGEST_READ = 64 * 2**20  # bytes of a file or folder up to which its content is read whenever Snakemake starts
PIECES, PIECE = 64, 2**16  # number and bytes of the pieces that are read of a larger file


def file_state(path: Path | str) -> str:
    """Return a text that changes when a file does: ``missing``, a digest, or for a large file size, time and pieces."""
    path = Path(path)
    if not path.is_file():
        return "missing"
    state = path.stat()
    if state.st_size <= LARGEST_READ:
        return content_digest(path)
    return f"{state.st_size} {state.st_mtime_ns} {_pieces_digest(path, state.st_size)}"


def code_digest(files: Iterable[Path | str]) -> str:
    """Return a digest of names and contents of source files of the workflow."""
    paths = {Path(os.path.relpath(path, PACKAGE_ROOT.parent)).as_posix(): Path(path) for path in files}
    return _digest(f"{name}\0{content_digest(paths[name])}\n" for name in sorted(paths))


def input_digest(paths: str | Path | Iterable[str | Path]) -> str:
    """Return the digest of a file's content, or one for several files in their order."""
    if isinstance(paths, (str, Path)):
        return content_digest(paths)
    digests = [content_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else _digest(f"{digest}\n" for digest in digests)


def content_digest(path: Path | str) -> str:
    """Return a digest of a file, or of the names and contents of all files of a folder."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return _digest(f"{file.relative_to(path).as_posix()}\0{content_digest(file)}\n" for file in files)
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _pieces_digest(path: Path, size: int) -> str:
    """Return a digest of pieces from the beginning of a file to its end, where a zip archive lists its checksums."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(PIECES):
            file.seek((size - PIECE) * number // (PIECES - 1))
            digest.update(file.read(PIECE))
    return digest.hexdigest()


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()
