"""How a model is evaluated: without a graph, and with its failures told in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.full_float32 import full_float32
from approxgrad.messages import one_line

TORCHSCRIPT = "Traceback of TorchScript"
"""In messages of scripted models, before the code that failed."""


@contextmanager
def evaluation() -> Iterator[None]:
    """Evaluate models without a graph, and in full precision.

    Not in inference mode: a model may differentiate, and keep tensors.
    """
    with full_float32(), torch.inference_mode(mode=False), torch.no_grad():
        yield


def failure(inputs: Sequence[Tensor], error: Exception) -> str:
    """Return one line that says for which batch a model fails, and with which error."""
    rows, shapes = len(inputs[0]), ", ".join(str(tuple(tensor.shape[1:])) for tensor in inputs)
    text = str(error)
    if TORCHSCRIPT in text:  # What went wrong is at the end.
        text = text.strip().rsplit("\n", 1)[-1].removeprefix(f"{type(error).__name__}: ")
    said = one_line(f"{type(error).__name__}: {text}")
    helps = lacking(inputs[0], error)
    return f"model: fails for {rows} {inputs[0].dtype} row{'s' * (rows > 1)} of shape {shapes} ({said}){helps}"


def lacking(inputs: Tensor, error: Exception) -> str:
    """Return what helps, as words to follow, where torch lacks an operation in a precision of 16 bits."""
    if not isinstance(error, NotImplementedError) or inputs.dtype not in (torch.bfloat16, torch.float16):
        return ""
    kind = str(inputs.dtype).removeprefix("torch.")
    return f"; torch lacks an operation of the model in {kind} on this device: take float32"
