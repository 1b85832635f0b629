"""What a model is to a study: a kind with options, which says what it is made from and how it is opened.

No kind imports torch before a model is built or opened, so that planning a study is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from approxgrad.descriptions import Description, Flag, Integer, Registry, Text, option, written
from approxgrad.gradients.precisions import WHOLES
from approxgrad.provenance.dependencies import user_files

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from approxgrad.storage.splits import Split

Shape = tuple[int, ...]

WEIGHTS_FILE = "weights.file"
"""Key of a user's own file of weights."""

EVALUATION = ("batch_size", "check_rows")
"""Options that every kind has: how jobs evaluate a model, whatever it is."""

STUDY = (*EVALUATION, "twin", "repeats")
"""Options that every kind has, and that a model itself does not depend on."""

ROWS_AT_ONCE = (
    "Rows that the model is given at once when it is attributed; by default as many as fit into the memory. With 1 a"
    " model can be attributed whose output for a row depends on the other rows of its batch. Changes the last digits of"
    " results."
)
CHECK_ROWS = (
    "Whether each job checks with a few evaluations that the model's rows are independent, repeatable and not random;"
    " false for a model that is known to be."
)
TWIN = (
    "For a model without a gradient: the name of another model of the study, with whose exact gradient it is compared,"
    " such as the network that it was exported from."
)


class ModelError(ValueError):
    """A model that cannot be made, does not fit the data, or cannot be read from its file."""


@dataclass(frozen=True, kw_only=True)
class ModelKind(Description):
    """One kind of model with its options.

    Attributes
    ----------
    name : str
        What names the kind in a configuration: the value of `architecture`, or a key if a field has that name.
    label : str
        The kind for readers.
    differentiable : bool
        Whether a model has an exact gradient, by automatic differentiation.
    keyed : bool
        Whether `architecture: name/value` is another way to write the key with the kind's name.
    timed : bool
        Whether a plan may evaluate a model to tell how long jobs take.
    precisions : tuple of str
        Types of inputs that a model can be evaluated in.
    source_key : str
        The option that names :attr:`source_model`.
    repeats : int
        How often a study trains the model; an option of kinds that it can train.
    offers : tuple of str
        What gradient sources may need besides evaluations, such as its trees.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    differentiable: ClassVar[bool] = True
    timed: ClassVar[bool] = True
    keyed: ClassVar[bool] = False
    source_key: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = WHOLES
    repeats: ClassVar[int] = 1
    offers: ClassVar[tuple[str, ...]] = ()

    batch_size: Annotated[Integer | None, option(ROWS_AT_ONCE, ge=1)] = None
    check_rows: Annotated[Flag, option(CHECK_ROWS)] = True
    twin: Annotated[Text | None, option(TWIN)] = None

    @property
    def words(self) -> str:
        """What the model is, for readers: the label, and what tells models of one kind apart."""
        return self.label

    @property
    def trained(self) -> bool:
        """Whether a study trains the model, which then has a file of weights."""
        return False

    @property
    def fitted(self) -> bool:
        """Whether a study fits weights from elsewhere to the model, which it then has a file of."""
        return False

    @property
    def makes(self) -> str:
        """Name of the file that a study makes of it with :meth:`make`: "model." and an ending; empty for none."""
        return ""

    @property
    def needs_training_rows(self) -> bool:
        """Whether making the file takes the training rows."""
        return False

    @property
    def source_model(self) -> str | None:
        """Name of another model of the study whose weights are needed to make the file."""
        return None

    @property
    def rounding_model(self) -> str | None:
        """Name of another model of the study that rounds like this one, so that its weights tell how much."""
        return None

    @property
    def rounds_to(self) -> str | None:
        """Type of floats that the model rounds to; None if it must not be evaluated to measure rounding."""
        return "float32"

    @property
    def reference_model(self) -> str | None:
        """Name of the model with whose exact gradient this one is compared."""
        return self.twin

    def weight_file(self, model: str) -> str | None:
        """Return the path of the weights from elsewhere, for a model of that name; None without such weights."""
        return None

    @property
    def module(self) -> str:
        """The user's own module that makes the model; empty if its kind does."""
        return ""

    @property
    def own_files(self) -> dict[str, list[str]]:
        """The user's own files, by the key that names them."""
        return {self.name: [str(path) for path in user_files(self.module, Path())]} if self.module else {}

    @property
    def opened_files(self) -> list[str]:
        """Those of the user's own files that a job reads besides weights."""
        return [file for key, files in self.own_files.items() if key != WEIGHTS_FILE for file in files]

    def shape_fault(self, shape: Shape) -> str | None:
        """Return why the model does not take inputs of a shape, or None if it does."""
        return None

    def faults(self) -> list[str]:
        """Return what is wrong beyond types and bounds, a line ``key: fault`` each."""
        return []

    def opening(self) -> dict[str, Any]:
        """Return the options that a job needs to open the model, besides its weights."""
        return self._own_options()

    def make(
        self, path: Path, shape: Shape, outputs: int, *, train: Split | None, source: Path | None, seed: int
    ) -> dict[str, Any]:
        """Write the file that :attr:`makes` names, and return what is worth knowing about it, as plain values.

        Parameters
        ----------
        path : path
            Where it goes; the ending is that of :attr:`makes`.
        shape, outputs
            As for :meth:`open`.
        train : Split or None
            The training rows, if they are needed.
        source : path or None
            The weights of :attr:`source_model`, if there is one.
        seed : int
            Of all that is drawn.

        Raises
        ------
        ModelError
            If a library is missing, or the file cannot be made from these rows or weights.
        """
        raise NotImplementedError

    def open(
        self,
        shape: Shape,
        outputs: int,
        device: torch.device,
        dtype: torch.dtype,
        file: Path | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Return a model without weights as a callable, from inputs (N, *shape) to outputs (N, outputs).

        Parameters
        ----------
        shape : tuple of int
            Shape of one input.
        outputs : int
            Number of classes, or 1 for a regression.
        device, dtype
            Of the inputs.
        file : path, optional
            What :meth:`make` wrote; passed only to kinds that make a file.

        Raises
        ------
        ModelError
            If the model cannot be opened, fails, or does not return the outputs that the data need.
        """
        raise NotImplementedError

    def _own_options(self) -> dict[str, Any]:
        return {name: value for name, value in written(self).items() if name not in STUDY}


MODELS: Registry[type[ModelKind]] = Registry(
    "kind of model",
    __package__,
    {
        "cnn": "architectures",
        "mlp": "architectures",
        "resnet18": "architectures",
        "resnet50": "architectures",
        "torchvision": "named_networks",
        "timm": "named_networks",
        "huggingface": "named_networks",
        "factory": "own_code",
        "function": "own_code",
        "onnx": "onnx_kind",
        "service": "service_kind",
        "trees": "trees",
        "exported": "exported",
    },
)
