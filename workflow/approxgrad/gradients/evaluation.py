"""How a model is evaluated: without a graph, perhaps watched, and with its failures told in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.checks import Model
from approxgrad.gradients.footprint import MemoryMeter
from approxgrad.messages import one_line


def evaluated(model: Model, copies: list[Tensor], arguments: list[Any], meter: MemoryMeter | None) -> Any:
    """Return what a model says of a batch; a meter notes its memory, if the model bears to be watched."""
    with evaluation():
        if meter is not None:
            try:
                return meter.run(model, [copy.clone() for copy in copies], arguments)
            except Exception:  # noqa: BLE001 - some models, such as of a compiler, do not bear to be watched
                meter.failed = True
        return model(*copies, *arguments)


def failure(inputs: Sequence[Tensor], error: Exception) -> str:
    """Return in one line that a model fails for a batch, and what it says."""
    rows, shapes = len(inputs[0]), ", ".join(str(tuple(tensor.shape[1:])) for tensor in inputs)
    said = one_line(f"{type(error).__name__}: {error}")
    return f"model: fails for {rows} {inputs[0].dtype} row{'s' * (rows > 1)} of shape {shapes} ({said})"


@contextmanager
def evaluation() -> Iterator[None]:
    """Evaluate models without a graph, so that what they cache is of use afterwards, and they may differentiate."""
    with torch.inference_mode(mode=False), torch.no_grad():
        yield
