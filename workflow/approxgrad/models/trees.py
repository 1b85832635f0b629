"""Ensembles of trees as a kind of model of a study: trained by it, or in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from approxgrad.datasets.faults import text_faults
from approxgrad.descriptions import Description, Integer, Number, Text, option
from approxgrad.gradients.precisions import DEFAULT, WHOLES
from approxgrad.models.kind import MODELS, ModelError, ModelKind, Shape
from approxgrad.models.trainings import Repeats

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from approxgrad.storage.splits import Split

FILES = {"scikit-learn": "model.skops", "xgboost": "model.ubj", "lightgbm": "model.txt"}
"""Names of the files that a study makes, by library."""


@dataclass(frozen=True, kw_only=True)
class Growing(Description):
    """How an ensemble of trees is trained, on the training rows alone."""

    ensemble: Annotated[
        Literal["boosting", "forest"],
        option("Trees that correct each other (scikit-learn's with histograms), or trees on drawn rows."),
    ] = "boosting"
    trees: Annotated[Integer, option("Trees, for each class if there are several.", ge=1, le=100000)] = 100
    depth: Annotated[Integer, option("Splits at most on the way to a leaf.", ge=1, le=16)] = 4
    learning_rate: Annotated[
        Number | None, option("Share of each tree that is added; by default 0.1, and 1 for a forest.", gt=0, le=1)
    ] = None

    @property
    def rate(self) -> float:
        """The learning rate of boosting."""
        return 0.1 if self.learning_rate is None else self.learning_rate


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Trees(ModelKind):
    """An ensemble of decision trees, which is constant between thresholds and has no gradient.

    Margins are explained: the sum over boosted trees before the link. For classes there is one output for each, whose
    softmax is the probabilities (for two classes -m/2 and m/2 of the margin m); of a forest it is the probabilities.
    """

    name: ClassVar[str] = "trees"
    label: ClassVar[str] = "trees"
    differentiable: ClassVar[bool] = False
    offers: ClassVar[tuple[str, ...]] = ("trees",)

    trees: Annotated[
        Literal["scikit-learn", "xgboost", "lightgbm"],
        option("Library. Trees have no gradient, so only approximated ones are studied. Images are flattened."),
    ]
    training: Annotated[Growing | None, option("How the ensemble is trained.")] = None
    file: Annotated[
        Text | None,
        option(
            "Path of a file instead of `training`: .skops of scikit-learn, .json or .ubj of XGBoost, .txt of LightGBM;"
            " a pickle is refused, because it can run any code."
        ),
    ] = None
    repeats: Repeats = 1  # type: ignore[misc]
    output: Annotated[
        Literal["logits", "probability"] | None,
        option("What is explained of classes; by default the logits of boosted trees and the probability of forests."),
    ] = None

    @property
    def makes(self) -> str:
        """The file of an ensemble that the study trains."""
        return "" if self.training is None else FILES[self.trees]

    @property
    def precisions(self) -> tuple[str, ...]:  # type: ignore[override]  # differs between libraries
        """Single precision alone where thresholds are compared in it; a file of scikit-learn says that itself."""
        forest = self.training is not None and self.training.ensemble == "forest"
        single = self.trees == "xgboost" or (self.trees == "scikit-learn" and forest)
        return (DEFAULT,) if single else WHOLES

    @property
    def needs_training_rows(self) -> bool:
        """Whether the study trains it."""
        return self.training is not None

    @property
    def own_files(self) -> dict[str, list[str]]:
        """The file."""
        return {} if self.file is None else {"file": [self.file]}

    def faults(self) -> list[str]:
        """Return a line unless there is either `training` or `file`, and for a learning rate of a forest."""
        if (self.training is None) == (self.file is None):
            how = "is missing" if self.training is None else "stands beside file"
            return [f"training: {how}, expected either training or file"]
        if self.training is not None and self.training.ensemble == "forest" and self.training.learning_rate is not None:
            return ["training.learning_rate: is for boosting, a forest has none; leave it out"]
        if self.repeats > 1 and self.training is None:
            return ["repeats: is for an ensemble with `training`; leave it out"]
        return [] if self.file is None else text_faults("file", self.file)

    def make(
        self, path: Path, shape: Shape, outputs: int, *, train: Split | None, source: Path | None, seed: int
    ) -> dict[str, Any]:
        """Train the ensemble and write its file; return the number of leaves."""
        from approxgrad.models.growing import grown

        if self.training is None or train is None:
            raise ModelError("training: is missing")
        return grown(self.trees, self.training, path, train, seed)

    def open(
        self, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype, file: Path | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the ensemble as a callable from tensors to tensors."""
        import torch

        from approxgrad.models.opening import opened_black_box
        from approxgrad.models.tree_model import TreeModel

        path = file or self.file
        if path is None:
            raise ModelError("file: is missing")
        model = TreeModel(path, threads=torch.get_num_threads())
        own = model.ensemble
        if own.library != self.trees:
            raise ModelError(f"trees: got {self.trees}, but {path} is a model of {own.library}")
        classes = outputs if outputs > 1 else 0
        if own.classes != classes:
            given = f"tells {own.classes} classes" if own.classes else "predicts a number"
            raise ModelError(f"trees {path}: {given}, the data have {f'{classes} classes' if classes else 'a number'}")
        if classes:
            model.choose_output(self.output or next(name for name in CLASS_OUTPUTS if name in own.offers))
        elif self.output is not None:
            raise ModelError(f"output: got {self.output}, but the data have no classes; leave it out")
        return opened_black_box(model, f"trees {path}", shape, outputs, device, dtype)


CLASS_OUTPUTS = ("logits", "probability", "margin")
"""Outputs of an ensemble for classes, the best ones first."""
