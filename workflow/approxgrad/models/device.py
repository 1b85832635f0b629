"""Where and how models run: device, threads and determinism."""

from __future__ import annotations

import os

import torch

from approxgrad.gradients.evaluating.acceleration import keep_freed_memory


def machine(device: torch.device) -> dict[str, str]:
    """Return what the last digits of results depend on: the device and the instructions of the CPU."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "instructions": torch.backends.cpu.get_cpu_capability()}


def set_up_torch(device: str, threads: int) -> torch.device:
    """Make torch deterministic and return the device to run on: of several GPUs the one that fewest others use.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
    threads : int
        Threads with which a model computes on the CPU.

    Raises
    ------
    ValueError
        If a GPU is asked for and there is none, or it is made to compute in TF32.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    available = torch.cuda.is_available()
    # One thread of a CPU computes everything in one order. There torch's own mode only refuses operations that are as
    # deterministic as others, such as layers of int8. Unlike use_deterministic_algorithms, this function does not
    # import the compiler, which takes a second.
    in_order = threads == 1 and (device == "cpu" or not available)
    torch.set_deterministic_debug_mode("default" if in_order else "error")
    # Without this, every new tensor is filled before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    if torch.backends.cudnn.is_available():
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
    if device == "cuda" and not available:
        raise ValueError("device: cuda was asked for, but torch finds no GPU; use cpu or auto")
    if not available or device == "cpu":
        return torch.device("cpu")
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1":
        raise ValueError(
            "device: NVIDIA_TF32_OVERRIDE=1 makes the GPU compute in TF32, in which differences cancel; unset it, or "
            "use device: cpu"
        )
    # Without this, cuBLAS may add up in another order at every call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    gpus = torch.cuda.device_count()
    if gpus < 2:
        return torch.device("cuda")
    from approxgrad.models.free_gpu import free_gpu

    chosen = torch.device("cuda", free_gpu([str(torch.cuda.get_device_properties(own).uuid) for own in range(gpus)]))
    torch.cuda.set_device(chosen)
    return chosen
