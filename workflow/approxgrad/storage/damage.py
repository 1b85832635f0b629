"""What reading a damaged or malicious file may raise, in the libraries that decode one."""

from __future__ import annotations

import pickle
import struct
import tarfile
import tokenize
import zipfile
import zlib

DAMAGES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Besides their own errors, decoders stumble over bytes that they did not expect; only a call of one is guarded so."""
