"""Networks of a study as they are deployed: as ONNX files, quantised, or in half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Flag, Integer, Text, option
from approxgrad.models.kind import MODELS, ModelKind, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from approxgrad.storage.splits import Split

STATIC, DYNAMIC, HALF = ("int8-static", "int16-static"), ("int8-dynamic",), ("float16", "bfloat16")
"""Precisions by how they are reached; float32 is left as it is."""

PRECISION = (
    "What it computes in. float32: as it is, by onnxruntime; int8-static: weights and activations of 8 bits, with scales"
    " from training rows; int16-static: activations of 16 bits; int8-dynamic: scales from each batch, so that it needs"
    " `batch_size: 1`; float16 and bfloat16: by torch, with inputs and outputs of float32."
)


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Exported(ModelKind):
    """A network of the study, exported to another runtime or precision; its twin is that network."""

    name: ClassVar[str] = "exported"
    label: ClassVar[str] = "exported network"
    differentiable: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    exported: Annotated[Text, option("Name of the network in `models`, which has `training` or `weights`.")]
    precision: Annotated[
        Literal["float32", "float16", "bfloat16", "int16-static", "int8-static", "int8-dynamic"], option(PRECISION)
    ] = "float32"
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

    @property
    def makes(self) -> str:
        """An ONNX file, or for half precision a file of weights."""
        return "model.safetensors" if self.precision in HALF else "model.onnx"

    @property
    def needs_training_rows(self) -> bool:
        """Whether there are static scales."""
        return self.precision in STATIC

    @property
    def source_model(self) -> str:
        """The network."""
        return self.exported

    @property
    def reference_model(self) -> str:
        """The twin, by default the network."""
        return self.twin or self.exported

    def faults(self) -> list[str]:
        """Return the options that do nothing in this precision, and a batch that would change the results."""
        used = {
            "calibration": STATIC,
            "calibration_rows": STATIC,
            "per_channel": (*STATIC, *DYNAMIC),
        }
        faults = [
            f"{key}: is of use for {', '.join(allowed)}, not for {self.precision}; leave it out"
            for key, allowed in used.items()
            if getattr(self, key) is not None and self.precision not in allowed
        ]
        if self.precision in DYNAMIC and self.batch_size != 1:
            found = "is missing" if self.batch_size is None else f"got {self.batch_size}"
            faults.append(f"batch_size: {found}, expected 1 for {self.precision}, whose scales depend on the whole batch")
        return faults

    def make(
        self, path: Path, shape: Shape, outputs: int, *, train: Split | None, source: Path | None, seed: int
    ) -> dict[str, Any]:
        """Write the network in its precision; return how much of its outputs differs from the network's.

        Raises
        ------
        ModelError
            If a library is missing, the network cannot be exported, or the file gives other outputs.
        """
        from approxgrad.models import exporting

        network = exporting.source_network(source, self.exported)
        if self.precision in HALF:
            return exporting.write_half(path, network, source, self.precision)
        if self.precision not in (*STATIC, *DYNAMIC):
            return exporting.write_onnx(path, network, shape)
        per_channel = self.per_channel is not False
        if self.precision in DYNAMIC:
            return exporting.write_dynamic(path, network, shape, per_channel=per_channel)
        return exporting.write_static(
            path,
            network,
            exporting.calibration_inputs(train, self.calibration_rows or 256, seed),
            wide=self.precision == "int16-static",
            method=self.calibration or "minmax",
            per_channel=per_channel,
        )

    def open(
        self, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype, file: Path | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the exported network as a callable.

        Raises
        ------
        ModelError
            If the file cannot be read.
        """
        from approxgrad.models import exporting

        return exporting.opened(file, self.precision, device, self.batch_size)
