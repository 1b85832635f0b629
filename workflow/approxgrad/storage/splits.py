"""Parts of a data set on disk: training, validation and test rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from approxgrad.storage.table_checks import TableError, matrix
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import fixed_lists, read_table, write_table


@dataclass(frozen=True)
class Split:
    """The training, validation or test part of a data set; the models see ``(features - mean) / std``."""

    features: NDArray[np.floating[Any]]  # (N, d) in the data's units: float32, or float64 where it would lose digits
    target: NDArray[Any]  # (N,): int64 class numbers, or float32 values of a regression
    effects: NDArray[np.float32] | None = None  # (N, d): the true effect of every feature, where it is known
    feature_shape: tuple[int, ...] = ()  # of one input; its product is d
    classes: tuple[str, ...] = ()  # names; empty for a regression
    mean: tuple[float, ...] = (0.0,)  # of each channel (first axis of the feature shape), or a single number
    std: tuple[float, ...] = (1.0,)
    feature_names: tuple[str, ...] = ()  # where the features have names
    feature_groups: tuple[str, ...] = ()  # the column that each feature is from, where several are from one
    origin: NDArray[np.str_] | None = None  # (N,): the row of a table, from 1 on, or the file, that a row is from
    notes: tuple[str, ...] = ()  # what was done to the source, a line each

    @property
    def outputs(self) -> int:
        """Number of outputs of a model for this data."""
        return len(self.classes) or 1

    def model_inputs(self) -> NDArray[np.float32]:
        """Return the normalised features, float32 of shape (N, *feature_shape)."""
        per_channel = (-1,) + (1,) * (len(self.feature_shape) - 1)
        mean = np.asarray(self.mean, self.features.dtype).reshape(per_channel)
        std = np.asarray(self.std, self.features.dtype).reshape(per_channel)
        return np.asarray((self.features.reshape(-1, *self.feature_shape) - mean) / std, np.float32)

    def rows(self, index: NDArray[np.int64]) -> Split:
        """Return the chosen rows."""
        effects = None if self.effects is None else self.effects[index]
        origin = None if self.origin is None else self.origin[index]
        return replace(self, features=self.features[index], target=self.target[index], effects=effects, origin=origin)

    @property
    def words(self) -> dict[str, Any]:
        """The names of features and classes as entries of metadata; without those that there are none of."""
        own = {"feature_names": self.feature_names, "feature_groups": self.feature_groups, "classes": self.classes}
        return {key: list(names) for key, names in own.items() if names}


def write_split(path: Path | str, split: Split, metadata: Mapping[str, Any]) -> None:
    """Write one part of a data set; `metadata` says where it came from."""
    columns = {"features": fixed_lists(split.features), "target": pa.array(split.target)}
    if split.effects is not None:
        columns["effects"] = fixed_lists(split.effects)
    if split.origin is not None:
        columns["origin"] = pa.array(split.origin, pa.string())
    document = {
        **metadata,
        "feature_shape": list(split.feature_shape),
        "classes": list(split.classes),
        "normalisation": {"mean": list(split.mean), "std": list(split.std)},
        **split.words,
        "notes": list(split.notes),
    }
    write_table(path, pa.table(columns), document)


def read_split(path: Path | str) -> Split:
    """Return one part of a data set; a TableError if the file does not have the schema of :func:`write_split`."""
    table, document = read_table(path)
    try:
        effects = matrix(table["effects"], "effects", path) if "effects" in table.column_names else None
        features = matrix(table["features"], "features", path)
        split = _split(features, table["target"].to_numpy(), effects, document, path)
    except KeyError as missing:
        raise TableError(f"{path}: lacks {missing}, so it is not part of a data set") from None
    origin = table["origin"].to_numpy().astype(str) if "origin" in table.column_names else None
    return replace(split, origin=origin)


def read_mean_input(path: Path | str) -> NDArray[np.float32]:
    """Return the mean model input of a part of a data set, float32, reading it in pieces of bounded size."""
    file = TableFile(path, ["features"])
    total, first = np.zeros(1), np.zeros(1, np.float32)
    for batch in file.batches(["features"], 4096):
        values = matrix(batch["features"], "features", path)
        if values.dtype == np.float64:
            # A sum of large numbers would lose digits that their differences have.
            first = first if first.dtype == np.float64 else values[0]
            values = values - first
        total = total + values.sum(axis=0, dtype=np.float64)
    mean = (first + total / max(file.rows, 1)).astype(first.dtype)[None]
    # Normalisation is affine, so the mean of the normalised rows is the normalised mean.
    return _one_row(file, mean, path).model_inputs()[0]


def read_input_spread(path: Path | str) -> NDArray[np.float64]:
    """Return the standard deviation of each feature of the model inputs of a part of a data set, in bounded memory.

    It is float64 of shape (d,); errors are those of :func:`read_split`.
    """
    file = TableFile(path, ["features"])
    total, squares, first = np.zeros(1), np.zeros(1), None
    for batch in file.batches(["features"], 4096):
        values = matrix(batch["features"], "features", path).astype(np.float64)
        # Squares of large numbers would lose digits that their differences have.
        first = values[0] if first is None else first
        total = total + (values - first).sum(axis=0)
        squares = squares + ((values - first) ** 2).sum(axis=0)
    rows = max(file.rows, 1)
    spread = np.sqrt(np.maximum(squares / rows - (total / rows) ** 2, 0))
    channels = np.asarray(_one_row(file, np.zeros((1, len(spread))), path).std).reshape(-1, 1)
    return np.asarray((spread.reshape(len(channels), -1) / channels).ravel())


def _one_row(file: TableFile, features: NDArray[np.floating[Any]], path: Path | str) -> Split:
    """Return a row with these features, of shape (1, d), as a part of the data set that a file is a part of."""
    try:
        target = np.zeros(1, np.int64 if file.metadata["classes"] else np.float32)
        return _split(features, target, None, file.metadata, path)
    except KeyError as missing:
        raise TableError(f"{path}: lacks {missing}, so it is not part of a data set") from None


def _split(
    features: NDArray[np.floating[Any]],
    target: NDArray[Any],
    effects: NDArray[np.float32] | None,
    document: dict[str, Any],
    path: Path | str,
) -> Split:
    try:
        shape = tuple(int(side) for side in document["feature_shape"])
        mean, std = (tuple(map(float, document["normalisation"][key])) for key in ("mean", "std"))
        classes, names, groups, notes = (
            tuple(map(str, document.get(key, ()))) for key in ("classes", "feature_names", "feature_groups", "notes")
        )
    except (TypeError, ValueError):
        raise TableError(f"{path}: has metadata that do not describe a data set") from None
    split = Split(features, target, effects, shape, classes, mean, std, names, groups, None, notes)
    _check_split(split, path)
    return split


def _check_split(split: Split, path: Path | str) -> None:
    """Refuse a part of a data set whose columns and metadata do not fit each other."""
    shape, width, target = split.feature_shape, split.features.shape[1], split.target
    if not shape or min(shape) < 1 or math.prod(shape) != width:
        raise TableError(f"{path}: has {width} features, which do not fill the shape {shape}")
    for key, names in (("feature_names", split.feature_names), ("feature_groups", split.feature_groups)):
        if len(names) not in (0, width):
            raise TableError(f"{path}: has {len(names)} {key} for {width} features")
    for key, values in (("mean", split.mean), ("std", split.std)):
        if len(values) not in (1, shape[0]) or not np.isfinite(values).all() or (key == "std" and min(values) <= 0):
            raise TableError(f"{path}: normalisation.{key} does not fit the shape {shape}")
    if split.effects is not None and split.effects.shape[1] != width:
        raise TableError(f"{path}: has {split.effects.shape[1]} effects for {width} features")
    if split.classes and (target.dtype.kind != "i" or not ((target >= 0) & (target < len(split.classes))).all()):
        raise TableError(f"{path}: column target does not hold class numbers from 0 to {len(split.classes) - 1}")
    if not split.classes and (target.dtype.kind != "f" or not np.isfinite(target).all()):
        raise TableError(f"{path}: column target does not hold finite numbers only")
