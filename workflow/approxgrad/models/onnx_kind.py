"""Models in ONNX files as a kind of model of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from approxgrad.datasets.faults import text_faults
from approxgrad.descriptions import Text, option
from approxgrad.models.box_options import ChannelsLast, Outputs, RoundInputs, Transform
from approxgrad.models.kind import MODELS, ModelError, ModelKind, Shape
from approxgrad.models.onnx_file import read_onnx

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Onnx(ModelKind):
    """A model in an ONNX file, which has no gradient."""

    name: ClassVar[str] = "onnx"
    label: ClassVar[str] = "ONNX model"
    differentiable: ClassVar[bool] = False

    onnx: Annotated[
        Text,
        option("Path of an ONNX file. It has no gradient, so only approximated ones are studied."),
    ]
    input: Annotated[Text | None, option("Name of the explained input; needed if there are several.")] = None
    constants: Annotated[
        dict[Text, Any],
        option(
            "Values of all other inputs by name: a number, or a list (of lists) of numbers. For an input with the rows'"
            " own first axis it is the value for one row."
        ),
    ] = field(default_factory=dict)
    output: Annotated[Text | None, option("Name of the output; needed if there are several of floats.")] = None
    transform: Transform = None
    runtime: Annotated[
        Literal["onnxruntime", "openvino"], option("What computes the model, in float32 if that is its type.")
    ] = "onnxruntime"
    channels_last: ChannelsLast = False
    round_inputs: RoundInputs = False
    outputs: Outputs = None

    @property
    def own_files(self) -> dict[str, list[str]]:
        """The file, and those beside it that hold its weights."""
        try:
            beside = list(read_onnx(Path(self.onnx)).external)
        except ModelError:
            beside = []  # The job that opens the file says why it cannot be read.
        return {"onnx": [self.onnx, *map(str, sorted(beside))]}

    def faults(self) -> list[str]:
        """Return a line if the path is not text, and for each constant that is not made of numbers."""
        wrong = [name for name, value in self.constants.items() if not _numeric(value)]
        return [
            *text_faults("onnx", self.onnx),
            *(f"constants.{name}: expected a number, or lists of one length with numbers" for name in wrong),
        ]

    def open(
        self, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype, file: Path | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the model as a callable from tensors to tensors."""
        import torch

        from approxgrad.models.onnx_model import OnnxModel
        from approxgrad.models.opening import opened_black_box, wanted_outputs

        own: dict[str, Any] = self._own_options()
        path, given = own.pop("onnx"), wanted_outputs(own.pop("outputs", None), outputs)
        model = OnnxModel(path, threads=torch.get_num_threads(), **own)
        return opened_black_box(model, f"onnx {path}", shape, given, device, dtype)


def _numeric(value: Any) -> bool:
    """Return whether a value is a finite number, or an array of them as lists."""
    try:
        found = np.asarray(value)
    except ValueError:  # lists of several lengths
        return False
    return found.dtype.kind in "iuf" and bool(np.isfinite(found).all())
