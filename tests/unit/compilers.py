"""What tests of compiled models need."""

import shutil
import sysconfig
from pathlib import Path

import pytest

HEADERS = Path(sysconfig.get_path("include"), "Python.h")

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") and HEADERS.is_file()), reason=f"needs g++ and {HEADERS}, on Debian python3-dev"
)
