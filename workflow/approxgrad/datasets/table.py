"""Tables of one's own: CSV and Parquet files with named columns, or NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.drawing import Amount, rest_faults, rows_of, stratified
from approxgrad.datasets.faults import DatasetError, refuse, unique_faults
from approxgrad.datasets.kind import DATASETS, PARTS, DatasetKind
from approxgrad.datasets.normalisation import Normalisation
from approxgrad.datasets.precision import single
from approxgrad.descriptions import Description, Text, option
from approxgrad.seeds import derive_seed
from approxgrad.storage.splits import Split

if TYPE_CHECKING:
    from approxgrad.datasets.table_files import Rows

SUFFIXES = (".csv", ".parquet")

TARGET = (
    "Column of the target. In a classification, labels of .csv files are text as it stands there (01 and 1 are two"
    " classes); in .parquet and .npz files numbers are numbers and text is text. Only an empty field is missing."
)
ARRAYS = (
    "Arrays of an .npz file, instead of columns: pairs of a matrix of features and a vector of targets for `all` rows,"
    " or for `train`, `test` and perhaps `validation`."
)
VALIDATION = (
    "Rows that choose the best epoch, if no file or array holds them; a share below 1 of all rows (of the training"
    " rows, if others hold the test rows), or a count."
)
TEST = (
    "Rows that are attributed and tested on, if no file or array holds them; a share below 1 of all rows, or a count."
)
NORMALISATION = (
    "Mean and standard deviation, or `standardise` for those of each feature in the training rows; computed in double"
    " precision and then given to models in single precision."
)
EFFECTS = "Columns of the features' true effects, in the order of the features, if they are known."

Named = Annotated[Text, option("", min_length=1)]
Columns = tuple[Text, ...]
Pair = tuple[Text, Text]


@dataclass(frozen=True)
class Files(Description):
    """One file for each part."""

    train: Annotated[Named, option("Rows to train on.")]
    test: Annotated[Named, option("Rows that are attributed and tested on.")]
    validation: Annotated[
        Named | None, option("Rows that choose the best epoch; by default some of the training rows.")
    ] = None


@dataclass(frozen=True)
class Arrays(Description):
    """Names of arrays: features and target of all rows or of each part, and effects."""

    all: Annotated[Pair | None, option("Features and target of all rows, which are split at random.")] = None
    train: Annotated[Pair | None, option("Features and target of the rows to train on.")] = None
    validation: Annotated[Pair | None, option("Features and target of the rows that choose the best epoch.")] = None
    test: Annotated[Pair | None, option("Features and target of the rows that are attributed and tested on.")] = None
    effects: Annotated[Text | None, option("True effects of the features, for the rows of `all` or `test`.")] = None


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class Table(DatasetKind):
    """Rows of a user's own files; labels become numbers in their sorted order."""

    name: ClassVar[str] = "table"

    task: Annotated[
        Literal["classification", "regression"],
        option("Classification (the target is any kind of label) or regression (it is a number)."),
    ]
    path: Annotated[Named | None, option("One .csv, .parquet or .npz file with all rows.")] = None
    files: Annotated[Files | None, option("Instead of `path`, one .csv or .parquet file for each part.")] = None
    features: Annotated[Columns | None, option("Columns of the features, which hold numbers.", min_length=1)] = None
    target: Annotated[Text | None, option(TARGET)] = None
    effects: Annotated[Columns | None, option(EFFECTS, min_length=1)] = None
    arrays: Annotated[Arrays | None, option(ARRAYS)] = None
    validation: Annotated[Amount, option(VALIDATION)] = 0.15
    test: Annotated[Amount, option(TEST)] = 0.25
    normalisation: Annotated[Normalisation | Literal["standardise"] | None, option(NORMALISATION)] = None  # type: ignore[assignment]

    @property
    def own_files(self) -> Mapping[str, str]:
        """The file, or those of the parts."""
        paths = {"path": self.path} | {f"files.{part}": getattr(self.files, part, None) for part in PARTS}
        return {key: path for key, path in paths.items() if path}

    @property
    def test_rows(self) -> int | None:
        """Number of test rows if drawn and given as a count."""
        drawn = self.path and not (self.arrays and self.arrays.train)
        return int(self.test) if drawn and self.test >= 1 else None

    @property
    def feature_shape(self) -> tuple[int, ...] | None:
        """Number of features if they are named, as those of arrays are not."""
        return (len(self.features),) if self.features else None

    @property
    def has_truth(self) -> bool:
        """Whether effects are named."""
        return bool(self.effects or (self.arrays and self.arrays.effects))

    def faults(self) -> list[str]:
        """Return what makes unclear which files and which of their columns or arrays are meant."""
        if (self.path is None) == (self.files is None):
            return ["path: expected either `path` (one file) or `files` (one for each part)"]
        return super().faults() or (self._column_faults() if self.arrays is None else self._array_faults(self.arrays))

    def _array_faults(self, arrays: Arrays) -> list[str]:
        if self.path is None or Path(self.path).suffix.lower() != ".npz":
            return ["arrays: expected `path` with one .npz file"]
        if any(value is not None for value in (self.features, self.target, self.effects)):
            return ["arrays: stands instead of `features`, `target` and `effects`"]
        if (arrays.all is None) == (arrays.train is None):
            return ["arrays: expected either `all` or `train` and `test`"]
        if (arrays.train is None) != (arrays.test is None):
            return ["arrays: expected `train` and `test` together"]
        return []

    def _column_faults(self) -> list[str]:
        for key, path in self.own_files.items():
            if Path(path).suffix.lower() not in SUFFIXES:
                hint = ", or .npz together with `arrays`" if key == "path" else ""
                return [f"{key}: got {path!r}, expected a file that ends in {' or '.join(SUFFIXES)}{hint}"]
        if self.features is None or self.target is None:
            return ["features: expected `features` and `target`, names of columns"]
        if self.target in self.features:
            return [f"target: got {self.target!r}, which is among the features"]
        effects = self.effects or ()
        if effects and len(effects) != len(self.features):
            return [f"effects: got {len(effects)} columns, expected {len(self.features)}"]
        return unique_faults("features", self.features) + unique_faults("effects", effects)

    def prepare(self, seed: int, sources: Sequence[Path]) -> dict[str, Split]:
        """Return the rows; draws of a classification keep the proportions of the classes."""
        from approxgrad.datasets.labels import classes_of

        parts = self._read(sources)
        classes: tuple[str, ...] = ()
        numbers = {name: np.zeros(len(rows.target), np.int64) for name, rows in parts.items()}
        if self.task == "classification":
            labels, wheres = ({name: getattr(rows, key) for name, rows in parts.items()} for key in ("target", "where"))
            as_text = any(source.suffix.lower() == ".csv" for source in sources)
            classes, numbers = classes_of(labels, wheres, as_text)
        targets = numbers if classes else {name: rows.target for name, rows in parts.items()}
        drawn = self._drawn(numbers, seed)
        if classes:
            _check_classes(drawn, numbers, classes)
        else:
            _check_spread(drawn, parts)
        origin, training = drawn["train"]
        scale = self._scale(parts[origin].features[training], parts[origin].columns)
        features = {name: _stored(rows, scale) for name, rows in parts.items()}
        splits = {}
        for name, (origin, index) in drawn.items():
            effects = parts[origin].effects
            splits[name] = Split(
                features=features[origin][index],
                target=targets[origin][index],
                effects=None if effects is None else effects[index],
                feature_shape=(features[origin].shape[1],),
                classes=classes,
                mean=scale.mean,
                std=scale.std,
            )
        return splits

    def _read(self, sources: Sequence[Path]) -> dict[str, Rows]:
        """Return everything in the files: the part ``all``, or those of :data:`PARTS` that are there."""
        from approxgrad.datasets.table_files import read_arrays, read_columns

        if self.arrays:
            explained = "all" if self.arrays.all else "test"
            parts = {
                name: read_arrays(sources[0], pair, self.arrays.effects if name == explained else None, self.task)
                for name in ("all", *PARTS)
                if (pair := getattr(self.arrays, name))
            }
        else:
            names = ["all"] if self.path else [key.removeprefix("files.") for key in self.own_files]
            parts = {}
            for name, path in zip(names, sources, strict=True):
                effects = self.effects if name in ("all", "test") else None
                parts[name] = read_columns(path, self.features or (), self.target or "", effects or (), self.task)
        first, *others = parts.values()
        for rows in others:
            count, expected = rows.features.shape[1], first.features.shape[1]
            if count != expected:
                raise DatasetError(f"{rows.where}: has {count} features, expected {expected} as in {first.where}")
        return parts

    def _drawn(self, strata: dict[str, NDArray[np.int64]], seed: int) -> dict[str, tuple[str, NDArray[np.int64]]]:
        """Return, for each part of the split, the part that was read and its rows there."""
        drawn = {name: (name, np.arange(len(labels))) for name, labels in strata.items() if name in PARTS}
        origin = "all" if "all" in strata else "train"
        labels, rest = strata[origin], np.arange(len(strata[origin]))
        taken = []
        for name, amount in (("test", self.test), ("validation", self.validation)):
            if name not in drawn:
                chosen, left = stratified(labels[rest], rows_of(amount, len(labels)), derive_seed(seed, name))
                drawn[name], rest = (origin, rest[chosen]), rest[left]
                taken.append(name)
        refuse(rest_faults(" and ".join(taken) or "train", len(rest)))
        drawn["train"] = (origin, rest)
        return {name: drawn[name] for name in PARTS}

    def _scale(self, features: NDArray[np.float64], columns: Sequence[str]) -> Normalisation:
        if self.normalisation != "standardise":
            refuse(self.fixed_scale.faults(features.shape[1]))
            return self.fixed_scale
        low, high = features.min(axis=0), features.max(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            # A constant feature becomes exactly 0, which a mean with a rounding error would not give.
            mean = np.where(low < high, features.mean(axis=0), low)
            std = np.where(low < high, features.std(axis=0), 1.0)
        wrong = np.flatnonzero(~(np.isfinite(std) & (std > 0)))
        if wrong.size:
            raise DatasetError(
                f"{columns[wrong[0]]}: got values from {low[wrong[0]]:g} to {high[wrong[0]]:g}, "
                "whose variance is not a number in double precision; expected others to standardise"
            )
        return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))


def _check_classes(
    drawn: dict[str, tuple[str, NDArray[np.int64]]], numbers: dict[str, NDArray[np.int64]], classes: tuple[str, ...]
) -> None:
    origin, rows = drawn["train"]
    count = sum(map(len, numbers.values()))
    hint = f"; {len(classes)} labels in {count} rows may be numbers, `task: regression`"
    for lacking in np.setdiff1d(np.arange(len(classes)), numbers[origin][rows]):
        raise DatasetError(
            f"target: no training row has the class {classes[lacking]}, expected each class there"
            + (hint if len(classes) > count / 2 else "")
        )


def _check_spread(drawn: dict[str, tuple[str, NDArray[np.int64]]], parts: dict[str, Rows]) -> None:
    """Refuse a regression with the same target in all rows that a model learns from or is measured on."""
    for name in ("train", "test"):
        origin, index = drawn[name]
        target = parts[origin].target[index]
        if len(target) > 1 and (target == target[0]).all():
            where = parts[origin].where
            raise DatasetError(f"{where}: target is always {target[0]:g} in the {name} rows, expected several values")


def _stored(rows: Rows, scale: Normalisation) -> NDArray[np.floating[Any]]:
    """Return the features in double precision if they are to be shifted or scaled, else in single precision."""
    inputs = (rows.features - np.array(scale.mean)) / np.array(scale.std)
    columns = zip(inputs.T, rows.features.T, rows.columns, strict=True)
    models_see = np.stack([single(column, given, where) for column, given, where in columns], axis=1)
    unchanged = not any(scale.mean) and set(scale.std) == {1.0}
    return models_see if unchanged else rows.features
