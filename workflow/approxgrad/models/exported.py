"""Networks of a study as they are deployed: as ONNX files, quantised, or in half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from approxgrad.descriptions import Description, Flag, Integer, Text, option
from approxgrad.models.kind import MODELS, ModelKind, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from approxgrad.storage.splits import Split

STATIC, DYNAMIC, HALF = ("int8-static", "int16-static"), ("int8-dynamic",), ("float16", "bfloat16")
"""What a network is exported as, by how that is reached; onnx leaves the precision as it is."""

CALIBRATION_ROWS = 256
"""Training rows that scales follow from, unless there is another number."""

FORM = (
    "What it is exported as. onnx: unchanged, for onnxruntime; int8-static: weights and activations of 8 bits, with"
    " scales from training rows; int16-static: the same with activations of 16 bits; int8-dynamic: with scales from"
    " each row, which are evaluated one by one; float16 and bfloat16: by torch, with inputs and outputs of float32."
)


@dataclass(frozen=True, kw_only=True)
class Export(Description):
    """How a network is exported."""

    of: Annotated[Text, option("Name of the network in `models`, which has `training` or `weights`.")]
    as_: Annotated[
        Literal["onnx", "float16", "bfloat16", "int16-static", "int8-static", "int8-dynamic"], option(FORM)
    ] = "onnx"
    calibration: Annotated[
        Literal["minmax", "entropy", "percentile"] | None,
        option("How static scales follow from the training rows; by default minmax, their range."),
    ] = None
    calibration_rows: Annotated[
        Integer | None, option("Training rows, drawn at random, for static scales; by default 256, or all.", ge=1)
    ] = None
    per_channel: Annotated[
        Flag | None, option("Whether quantised weights have a scale for each output channel; by default true.")
    ] = None


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Exported(ModelKind):
    """A network of the study, exported to another runtime or precision; its twin is that network."""

    name: ClassVar[str] = "exported"
    label: ClassVar[str] = "exported network"
    differentiable: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    source_key: ClassVar[str] = "exported.of"

    exported: Annotated[Export, option("The network, and what it is exported as.")]

    @property
    def words(self) -> str:
        """The network and what it is exported as."""
        return f"{self.exported.of} exported as {self.exported.as_}"

    @property
    def makes(self) -> str:
        """An ONNX file, or for half precision a file of weights."""
        return "model.safetensors" if self.exported.as_ in HALF else "model.onnx"

    @property
    def needs_training_rows(self) -> bool:
        """Whether there are static scales."""
        return self.exported.as_ in STATIC

    @property
    def source_model(self) -> str:
        """The network."""
        return self.exported.of

    @property
    def rounding_model(self) -> str | None:
        """The network if its precision is the same; others jump where they round."""
        return self.exported.of if self.exported.as_ == "onnx" else None

    @property
    def rounds_to(self) -> str:
        """Half precision, or float32 between integers as well."""
        return self.exported.as_ if self.exported.as_ in HALF else "float32"

    @property
    def reference_model(self) -> str:
        """The twin, by default the network."""
        return self.twin or self.exported.of

    def faults(self) -> list[str]:
        """Return the options that do nothing for what the network is exported as."""
        used = {"calibration": STATIC, "calibration_rows": STATIC, "per_channel": (*STATIC, *DYNAMIC)}
        return [
            f"exported.{key}: is of use for {', '.join(allowed)}, not for {self.exported.as_}; leave it out"
            for key, allowed in used.items()
            if getattr(self.exported, key) is not None and self.exported.as_ not in allowed
        ]

    def make(
        self, path: Path, shape: Shape, outputs: int, *, train: Split | None, source: Path | None, seed: int
    ) -> dict[str, Any]:
        """Write the network in its precision; return by how much its outputs differ from the network's."""
        import torch

        from approxgrad.models import exporting, quantising
        from approxgrad.models.model_files import load_model

        weights, own = cast(Path, source), self.exported
        if own.as_ in HALF:
            return exporting.write_half(path, weights, own.as_, shape)
        network, channels = load_model(weights, torch.device("cpu")), own.per_channel is not False
        if own.as_ in DYNAMIC:
            return quantising.write_dynamic(path, network, shape, per_channel=channels)
        if own.as_ in STATIC:
            rows = quantising.drawn_rows(cast("Split", train), own.calibration_rows or CALIBRATION_ROWS, seed)
            wide, method = own.as_ == "int16-static", own.calibration or "minmax"
            return quantising.write_static(path, network, rows, wide=wide, method=method, per_channel=channels)
        return exporting.write_onnx(path, network, shape)

    def open(
        self, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype, file: Path | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the exported network as a callable; an ONNX file runs on the CPU."""
        import torch

        from approxgrad.models.opening import opened_black_box

        made = cast(Path, file)
        if self.exported.as_ in HALF:
            from approxgrad.models.exporting import HalfNetwork

            return HalfNetwork(made, self.exported.as_, device)
        from approxgrad.models.onnx_model import OnnxModel

        # Scales that follow from a batch are those of a single row.
        size = 1 if self.exported.as_ in DYNAMIC else None
        model = OnnxModel(made, threads=torch.get_num_threads(), batch_size=size)
        return opened_black_box(model, f"exported {self.exported.of}", shape, outputs, device, dtype)
