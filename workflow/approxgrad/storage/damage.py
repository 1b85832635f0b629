"""The errors that decoders raise for a damaged or malicious file."""

from __future__ import annotations

import pickle
import struct
import tarfile
import tokenize
import zipfile
import zlib

DAMAGES: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError),
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError, pickle.UnpicklingError, struct.error),
    *(tarfile.TarError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""Unexpected bytes make decoders fail in many ways. Only the call of a decoder is guarded against all of them."""
