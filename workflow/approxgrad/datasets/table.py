"""Tables of one's own: CSV and Parquet files with named columns, or NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.class_names import ClassNames, arranged, class_faults
from approxgrad.datasets.drawing import Amount, rest_faults, rows_of, stratified
from approxgrad.datasets.faults import DatasetError, refuse, unique_faults
from approxgrad.datasets.kind import DATASETS, PARTS, DatasetKind
from approxgrad.datasets.normalisation import Normalisation
from approxgrad.datasets.table_columns import Wanted, check_names, chosen_columns, is_open
from approxgrad.datasets.table_options import PLAIN_CSV, Arrays, Columns, CsvFormat, Files, Named, ending, ending_fault
from approxgrad.descriptions import Text, option
from approxgrad.seeds import derive_seed
from approxgrad.storage.splits import Split

if TYPE_CHECKING:
    from approxgrad.datasets.table_rows import Rows

PATH = (
    "One file with all rows: .csv, .tsv, .tab, .txt or .data (also compressed: .gz, .bz2, .xz, .zip), .parquet or .npz."
)
FEATURES = (
    "Columns of the features: names, patterns such as `pixel*`, and ranges `first:last` in the order of the file; `all`"
    " for every column with a name. The target, effects and what `without` names are left out of the last three."
)
CATEGORICAL = (
    "Those of the features, as names or patterns, that hold categories: each becomes one feature of 0 and 1 for each of"
    " its values, which metrics and the explorer take as one, with the sum of their attributions."
)
MISSING = (
    "What is done where a value is missing, instead of refusing the file: `drop` leaves the row out, `mean` takes the"
    " mean of the feature in the training rows (of a category, its share)."
)
TARGET = (
    "Column of the target. In a classification, labels of text files are text as it stands there (01 and 1 are two"
    " classes); in .parquet and .npz files numbers are numbers and text is text."
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


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class Table(DatasetKind):
    """Rows of a user's own files; labels become numbers, in the order of `classes` or sorted."""

    name: ClassVar[str] = "table"

    task: Annotated[
        Literal["classification", "regression"],
        option("Classification (the target is any kind of label) or regression (it is a number)."),
    ]
    path: Annotated[Named | None, option(PATH)] = None
    files: Annotated[Files | None, option("Instead of `path`, one text or .parquet file for each part.")] = None
    csv: Annotated[CsvFormat, option("How text files are written.")] = PLAIN_CSV
    features: Annotated[Annotated[Columns, option("", min_length=1)] | Literal["all"] | None, option(FEATURES)] = None
    without: Annotated[Columns, option("Columns, as names, patterns or ranges, that are no features.")] = ()
    categorical: Annotated[Columns, option(CATEGORICAL)] = ()
    missing: Annotated[Literal["drop", "mean"] | None, option(MISSING)] = None
    target: Annotated[Text | None, option(TARGET)] = None
    classes: ClassNames = None
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
        known = self.features and not is_open(self.features) and not self.categorical
        return (len(self.features or ()),) if known else None

    @property
    def outputs(self) -> int | None:
        """One for each class, if these are named, or for a regression."""
        return 1 if self.task == "regression" else len(self.classes or ()) or None

    @property
    def has_truth(self) -> bool:
        """Whether effects are named."""
        return bool(self.effects or (self.arrays and self.arrays.effects))

    def faults(self) -> list[str]:
        """Return what makes unclear which files and which of their columns or arrays are meant."""
        if self.classes and self.task == "regression":
            return ["classes: a regression has none; leave it out, or write `task: classification`"]
        if (self.path is None) == (self.files is None):
            return ["path: expected either `path` (one file) or `files` (one for each part)"]
        return super().faults() + class_faults(self.classes) or (
            self._column_faults() if self.arrays is None else self._array_faults(self.arrays)
        )

    def _array_faults(self, arrays: Arrays) -> list[str]:
        if self.path is None or ending(self.path) != ".npz":
            return ["arrays: expected `path` with one .npz file"]
        if any((self.features, self.target, self.effects, self.without, self.categorical)):
            return ["arrays: stands instead of `features`, `target`, `effects`, `without` and `categorical`"]
        if (arrays.all is None) == (arrays.train is None):
            return ["arrays: expected either `all` or `train` and `test`"]
        if (arrays.train is None) != (arrays.test is None):
            return ["arrays: expected `train` and `test` together"]
        return []

    def _column_faults(self) -> list[str]:
        for key, path in self.own_files.items():
            if fault := ending_fault(key, path):
                return [fault]
        if self.features is None or self.target is None:
            return ["features: expected `features` and `target`, names of columns"]
        if self.features != "all" and self.target in self.features:
            return [f"target: got {self.target!r}, which is among the features"]
        effects = self.effects or ()
        if effects and self.categorical:
            return ["effects: are of features, and a column of `categorical` becomes several"]
        if effects and self.feature_shape and self.feature_shape != (len(effects),):
            return [f"effects: got {len(effects)} columns, expected {self.feature_shape[0]}"]
        named = () if self.features == "all" else self.features
        faults = unique_faults("features", named) + unique_faults("effects", effects)
        return faults or self.csv.faults()

    def prepare(self, seed: int, sources: Sequence[Path]) -> dict[str, Split]:
        """Return the rows; draws of a classification keep the proportions of the classes."""
        from approxgrad.datasets.labels import classes_of
        from approxgrad.datasets.table_rows import filled, training_means
        from approxgrad.datasets.table_scale import check_classes, check_spread, stored

        parts, groups = self._read(sources)
        classes: tuple[str, ...] = ()
        numbers = {name: np.zeros(len(rows.target), np.int64) for name, rows in parts.items()}
        if self.task == "classification":
            labels, wheres = ({name: getattr(rows, key) for name, rows in parts.items()} for key in ("target", "where"))
            as_text = any(ending(source) not in (".parquet", ".npz") for source in sources)
            found, numbers = classes_of(labels, wheres, as_text, fewest=1 if self.classes else 2)
            classes = tuple(arranged(found, self.classes))
            place = np.array([classes.index(label) for label in found])
            numbers = {name: place[own] for name, own in numbers.items()}
        targets = numbers if classes else {name: rows.target for name, rows in parts.items()}
        drawn = self._drawn(numbers, seed)
        if classes:
            check_classes(drawn, numbers, classes)
        else:
            check_spread(drawn, parts)
        origin, training = drawn["train"]
        if self.missing == "mean":
            means = training_means(parts[origin].features[training], parts[origin].columns)
            parts = {name: replace(rows, features=filled(rows.features, means)) for name, rows in parts.items()}
        scale = self._scale(parts[origin].features[training], parts[origin].columns)
        features = {name: stored(rows, scale) for name, rows in parts.items()}
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
                feature_names=parts[origin].names,
                feature_groups=groups,
                origin=parts[origin].numbers[index].astype(str),
                notes=tuple(note for rows in parts.values() for note in rows.notes),
            )
        return splits

    def _read(self, sources: Sequence[Path]) -> tuple[dict[str, Rows], tuple[str, ...]]:
        """Return the rows of each part (``all``, or :data:`PARTS`), and the column that each feature is from."""
        from approxgrad.datasets.table_files import read_arrays
        from approxgrad.datasets.table_rows import encoded, rows_of_arrays

        parts: dict[str, Rows] = {}
        if self.arrays:
            explained = "all" if self.arrays.all else "test"
            for name in ("all", *PARTS):
                effects = self.arrays.effects if name == explained else None
                if pair := getattr(self.arrays, name):
                    arrays = read_arrays(sources[0], pair, effects)
                    parts[name] = rows_of_arrays(sources[0], pair, arrays, effects, self.task, self.missing)
        else:
            features: Wanted = self.features or ()
            names = ["all"] if self.path else [key.removeprefix("files.") for key in self.own_files]
            for name, path in zip(names, sources, strict=True):
                own = self.effects if name in ("all", "test") else None
                parts[name] = self._read_columns(path, features, own or ())
                # What the first file has under a pattern the others must have, and no more is taken.
                features = parts[name].order
        first, *others = parts.values()
        for rows in others:
            count, expected = rows.features.shape[1], first.features.shape[1]
            if count != expected:
                raise DatasetError(f"{rows.where}: has {count} features, expected {expected} as in {first.where}")
        return encoded(parts)

    def _read_columns(self, path: Path, wanted: Wanted, effects: Columns) -> Rows:
        from approxgrad.datasets.table_files import read_columns
        from approxgrad.datasets.table_rows import rows_of_columns

        target = self.target or ""
        features: Columns = ()
        categorical: Columns = ()

        def choose(found: list[str]) -> tuple[list[str], list[str]]:
            nonlocal features, categorical
            without = chosen_columns(self.without, found, path, key="without")
            features = chosen_columns(wanted, found, path, without={target, *(self.effects or ()), *without})
            check_names(path, [target, *effects], found)
            categorical = chosen_columns(self.categorical, features, path, key="categorical")
            if effects and len(effects) != len(features):
                raise DatasetError(f"{path}: effects: got {len(effects)} columns for {len(features)} features")
            text = [*categorical, *([target] if self.task == "classification" else [])]
            return list(dict.fromkeys([*features, target, *effects])), text

        columns = read_columns(path, choose, self.csv)
        return rows_of_columns(
            path, columns, features, target, effects, self.task, categorical=categorical, missing=self.missing
        )

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
        refuse(rest_faults(" and ".join(taken) or "train", len(rest), len(labels)))
        drawn["train"] = (origin, rest)
        return {name: drawn[name] for name in PARTS}

    def _scale(self, features: NDArray[np.float64], columns: Sequence[str]) -> Normalisation:
        from approxgrad.datasets.table_scale import standardising

        if self.normalisation == "standardise":
            return standardising(features, columns)
        refuse(self.fixed_scale.faults(features.shape[1]))
        return self.fixed_scale
