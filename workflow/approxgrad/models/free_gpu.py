"""Which of several GPUs a process takes: the one that the fewest others of this package use."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # open as long as the process lives


def free_gpu(identities: Sequence[str], folder: Path | None = None) -> int:
    """Return the number of a GPU, and hold a place on it until this process ends.

    Parameters
    ----------
    identities : sequence of str
        What tells the GPUs of this machine apart, whichever of them a process sees.
    folder : path, optional
        Where the places are files; by default a folder of this user among the temporary ones.
    """
    folder = Path(tempfile.gettempdir(), f"approxgrad-gpus-{os.getuid()}") if folder is None else folder
    folder.mkdir(mode=0o700, exist_ok=True)
    for place in count():
        for number, identity in enumerate(identities):
            file = (folder / f"{identity}-{place}").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                _held.append(file)
                return number
    raise AssertionError  # places do not end
