"""Where and how models run: device, threads and determinism."""

from __future__ import annotations

import ctypes
import os

import torch

# Parameters of glibc's mallopt, and the size below which memory is kept for reuse.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**30


def set_up_torch(device: str, threads: int) -> torch.device:
    """Make torch deterministic and return the device to run on.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
    threads : int
        Threads with which a model computes on the CPU.

    Raises
    ------
    ValueError
        If a GPU is asked for and there is none.
    """
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms, which would import the compiler (a second for every job).
    torch.set_deterministic_debug_mode("error")
    if torch.backends.cudnn.is_available():
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("device: cuda was asked for, but torch finds no GPU; use cpu or auto")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and return whether the C library could be told so.

    By default glibc gives every large block back to the system at once, so that each layer of each evaluation begins
    with page faults: a third of the time of a small convolutional network. Results do not depend on it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES))
