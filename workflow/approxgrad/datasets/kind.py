"""What a data set is to a study: options of a kind, from which its training, validation and test rows are prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.datasets.faults import path_faults
from approxgrad.datasets.normalisation import NOT_NORMALISED, Normalisation, Normalised
from approxgrad.descriptions import Description, Registry, written

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from approxgrad.storage.splits import Split

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class DatasetKind(Description):
    """A data set of one kind with its options, the fields of a subclass."""

    name: ClassVar[str]  # as `kind` in a configuration
    folders: ClassVar[bool] = False  # whether a user's own files may be a folder
    downloads: ClassVar[bool] = False  # whether the rule `download` fetches the source, as the option `download` says
    is_image: ClassVar[bool] = False  # whether inputs can be shown as pictures

    normalisation: Normalised = None

    @property
    def own_files(self) -> Mapping[str, str]:
        """Paths of a user's own files, by the options that name them."""
        return {}

    def sources(self, dataset_name: str) -> list[str]:
        """Return the paths of the files that :meth:`prepare` reads."""
        return list(self.own_files.values())

    @property
    def test_rows(self) -> int | None:
        """Number of test rows; None if only the files tell."""
        return None

    @property
    def training_rows(self) -> int | None:
        """Number of training rows; None if only the files tell."""
        return None

    @property
    def feature_shape(self) -> tuple[int, ...] | None:
        """Shape of one input; None if only the files tell."""
        return None

    @property
    def outputs(self) -> int | None:
        """Outputs that a model needs: one for each class, or 1 for a regression; None if only the files tell."""
        return None

    @property
    def has_truth(self) -> bool:
        """Whether the true effects of the features are known."""
        return False

    def true_effects(self, features: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the true effect of every feature, and its slope, at any features: float64 (N, d) in the data's units.

        To be defined where the effects are known as functions, and not at the test rows only.
        """
        raise NotImplementedError

    @property
    def has_functions(self) -> bool:
        """Whether the true effects are known as functions."""
        return type(self).true_effects is not DatasetKind.true_effects

    @property
    def fixed_scale(self) -> Normalisation:
        """The normalisation with the numbers of the configuration."""
        return self.normalisation or NOT_NORMALISED

    def faults(self) -> list[str]:
        """Return what is wrong with the options beyond their types and bounds, each as ``option: fault``."""
        found = [fault for key, path in self.own_files.items() for fault in path_faults(key, path)]
        if self.feature_shape and isinstance(self.normalisation, Normalisation):
            found += self.normalisation.faults(self.feature_shape[0])
        return found

    def tracked(self) -> dict[str, Any]:
        """Return the options on which the prepared rows depend, as plain values."""
        return written(self)

    def split(
        self,
        features: NDArray[Any],
        target: NDArray[Any],
        classes: tuple[str, ...] = (),
        effects: Any = None,
        origin: NDArray[Any] | None = None,
    ) -> Split:
        """Return some rows as a part with the shape and the numbers of the configuration."""
        from approxgrad.storage.splits import Split

        scale = self.fixed_scale
        return Split(features, target, effects, self.feature_shape or (), classes, scale.mean, scale.std, origin=origin)

    def prepare(self, seed: int, sources: Sequence[Path]) -> dict[str, Split]:
        """Return the parts ``train``, ``validation`` and ``test`` from the files that :meth:`sources` names.

        The seed is that of all random draws. A DatasetError says why the files do not fit the options.
        """
        raise NotImplementedError


DATASETS: Registry[type[DatasetKind]] = Registry(
    "kind of data sets",
    __package__,
    {kind: kind for kind in ("digits", "synthetic", "cifar10", "image_folder", "table")},
)
