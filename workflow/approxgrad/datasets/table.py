"""Tables of one's own: CSV and Parquet files with named columns, or NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.drawing import check_rest, rows_of, stratified
from approxgrad.datasets.kinds import DatasetError
from approxgrad.datasets.labels import classes_of
from approxgrad.datasets.normalisation import Numbers, configured
from approxgrad.datasets.paths import checked_path
from approxgrad.datasets.precision import single
from approxgrad.datasets.table_files import SUFFIXES, Rows, read_arrays, read_columns
from approxgrad.seeds import derive_seed
from approxgrad.storage.tables import Split

PARTS = ("train", "validation", "test")


def sources(name: str, options: dict[str, Any]) -> list[str]:
    """Return the paths of the files: one, or one for each part in the order of :data:`PARTS`.

    Raises
    ------
    DatasetError
        If the options do not say clearly which files and which of their columns or arrays are meant.
    """
    if ("path" in options) == ("files" in options):
        raise DatasetError("path: expected either `path` (one file) or `files` (one for each part)")
    files = options.get("files", {})
    given = {"path": options["path"]} if "path" in options else {f"files.{p}": files[p] for p in PARTS if p in files}
    paths = [checked_path(path, key) for key, path in given.items()]
    by_name = [key for key in ("features", "target") if key in options]
    if "arrays" in options:
        if Path(paths[0]).suffix.lower() != ".npz" or "files" in options:
            raise DatasetError("arrays: expected `path` with one .npz file")
        if by_name or "effects" in options:
            raise DatasetError("arrays: stands instead of `features`, `target` and `effects`")
        if ("all" in options["arrays"]) == ("train" in options["arrays"]):
            raise DatasetError("arrays: expected either `all` or `train` and `test`")
        if ("train" in options["arrays"]) != ("test" in options["arrays"]):
            raise DatasetError("arrays: expected `train` and `test` together")
        return paths
    for key, path in zip(given, paths, strict=True):
        if Path(path).suffix.lower() not in SUFFIXES:
            hint = ", or .npz together with `arrays`" if key == "path" else ""
            raise DatasetError(f"{key}: got {path!r}, expected a file that ends in {' or '.join(SUFFIXES)}{hint}")
    if len(by_name) < 2:
        raise DatasetError("features: expected `features` and `target`, names of columns")
    if options["target"] in options["features"]:
        raise DatasetError(f"target: got {options['target']!r}, which is among the features")
    if "effects" in options and len(options["effects"]) != len(options["features"]):
        raise DatasetError(f"effects: got {len(options['effects'])} columns, expected {len(options['features'])}")
    return paths


def test_rows(options: dict[str, Any]) -> int | None:
    """Return the number of test rows if it is given as a count."""
    drawn = "path" in options and "train" not in options.get("arrays", {})
    return int(options["test"]) if drawn and options["test"] >= 1 else None


def training_rows(options: dict[str, Any]) -> int | None:
    """Return None: only the files tell it."""
    return None


def feature_shape(options: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the number of features if they are named, which those of arrays are not."""
    return (len(options["features"]),) if "features" in options else None


def is_image(options: dict[str, Any]) -> bool:
    """Return False."""
    return False


def has_truth(options: dict[str, Any]) -> bool:
    """Return whether the effects of the features are given."""
    return "effects" in options or "effects" in options.get("arrays", {})


def prepare(options: dict[str, Any], seed: int, sources: Sequence[Path]) -> dict[str, Split]:
    """Return the rows; labels become numbers in their sorted order.

    Parameters
    ----------
    options : dict
        ``features``, ``target`` and ``effects``: columns; or ``arrays``. ``task``: classification or regression.
        ``validation``, ``test``: shares or counts of the rows, where no file or array holds these parts.
        ``normalisation``: numbers, or ``standardise``.
    seed : int
        Of the draws; those of a classification keep the proportions of the classes.
    sources : sequence of path
        As :func:`sources` returns them.

    Raises
    ------
    DatasetError
        If a file cannot be read as a table of the kind described, or there are too few rows.
    """
    parts = _read(options, [Path(source) for source in sources])
    classes: tuple[str, ...] = ()
    numbers = {name: np.zeros(len(rows), np.int64) for name, rows in parts.items()}
    if options["task"] == "classification":
        labels, wheres = ({name: getattr(rows, key) for name, rows in parts.items()} for key in ("target", "where"))
        as_text = any(Path(source).suffix.lower() == ".csv" for source in sources)
        classes, numbers = classes_of(labels, wheres, as_text)
    targets = numbers if classes else {name: rows.target for name, rows in parts.items()}
    drawn = _drawn(numbers, options, seed)
    if classes:
        _check_classes(drawn, numbers, classes)
    else:
        _check_spread(drawn, parts)
    mean, std = _normalisation(options, parts[drawn["train"][0]].rows(drawn["train"][1]))
    features = {name: _stored(rows, mean, std) for name, rows in parts.items()}
    splits = {}
    for name, (origin, index) in drawn.items():
        effects = parts[origin].effects
        splits[name] = Split(
            features=features[origin][index],
            target=targets[origin][index],
            effects=None if effects is None else effects[index],
            feature_shape=(features[origin].shape[1],),
            classes=classes,
            mean=mean,
            std=std,
        )
    return splits


def _read(options: dict[str, Any], paths: list[Path]) -> dict[str, Rows]:
    """Return all that the files hold: the part ``all``, or those of :data:`PARTS` that are there."""
    task = options["task"]
    if "arrays" in options:
        arrays = options["arrays"]
        explained = "all" if "all" in arrays else "test"
        parts = {
            name: read_arrays(paths[0], arrays[name], arrays.get("effects") if name == explained else None, task)
            for name in ("all", *PARTS)
            if name in arrays
        }
    else:
        names = [part for part in PARTS if part in options["files"]] if "files" in options else ["all"]
        parts = {}
        for name, path in zip(names, paths, strict=True):
            effects = options.get("effects", []) if name in ("all", "test") else []
            parts[name] = read_columns(path, options["features"], options["target"], effects, task)
    first, *others = parts.values()
    for rows in others:
        if rows.features.shape[1] != first.features.shape[1]:
            raise DatasetError(
                f"{rows.where}: has {rows.features.shape[1]} features, expected {first.features.shape[1]} "
                f"as in {first.where}"
            )
    return parts


def _drawn(
    strata: dict[str, NDArray[np.int64]], options: dict[str, Any], seed: int
) -> dict[str, tuple[str, NDArray[np.int64]]]:
    """Return, for each part of the split, the part that was read and its rows there."""
    drawn = {name: (name, np.arange(len(labels))) for name, labels in strata.items() if name in PARTS}
    origin = "all" if "all" in strata else "train"
    labels, rest = strata[origin], np.arange(len(strata[origin]))
    taken = []
    for name in ("test", "validation"):
        if name not in drawn:
            chosen, left = stratified(labels[rest], rows_of(options[name], len(labels)), derive_seed(seed, name))
            drawn[name], rest = (origin, rest[chosen]), rest[left]
            taken.append(name)
    check_rest(len(rest), " and ".join(taken) or "train")
    drawn["train"] = (origin, rest)
    return {name: drawn[name] for name in PARTS}


def _check_classes(
    drawn: dict[str, tuple[str, NDArray[np.int64]]], numbers: dict[str, NDArray[np.int64]], classes: tuple[str, ...]
) -> None:
    origin, rows = drawn["train"]
    lacking = np.setdiff1d(np.arange(len(classes)), numbers[origin][rows])
    if lacking.size:
        count = sum(map(len, numbers.values()))
        hint = f"; {len(classes)} labels in {count} rows may be numbers, `task: regression`"
        raise DatasetError(
            f"target: no training row has the class {classes[lacking[0]]}, expected each class there"
            + (hint if len(classes) > count / 2 else "")
        )


def _check_spread(drawn: dict[str, tuple[str, NDArray[np.int64]]], parts: dict[str, Rows]) -> None:
    """Refuse a regression whose target is the same in all rows that a model learns from or is measured on."""
    for name in ("train", "test"):
        origin, index = drawn[name]
        target = parts[origin].target[index]
        if len(target) > 1 and (target == target[0]).all():
            where = parts[origin].where
            raise DatasetError(f"{where}: target is always {target[0]:g} in the {name} rows, expected several values")


def _normalisation(options: dict[str, Any], training: Rows) -> tuple[Numbers, Numbers]:
    features = training.features
    if options.get("normalisation") != "standardise":
        return configured(options, features.shape[1])
    low, high = features.min(axis=0), features.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        # A constant feature becomes 0 exactly, which a mean with a rounding error would not give.
        mean = np.where(low < high, features.mean(axis=0), low)
        std = np.where(low < high, features.std(axis=0), 1.0)
    wrong = np.flatnonzero(~(np.isfinite(std) & (std > 0)))
    if wrong.size:
        raise DatasetError(
            f"{training.columns[wrong[0]]}: got values from {low[wrong[0]]:g} to {high[wrong[0]]:g}, "
            "whose variance is no number in double precision; expected others to standardise"
        )
    return tuple(mean.tolist()), tuple(std.tolist())


def _stored(rows: Rows, mean: Numbers, std: Numbers) -> NDArray[np.floating[Any]]:
    """Return the features as they are stored: in double precision where something is to be subtracted or divided.

    Raises
    ------
    DatasetError
        If what models are given cannot be held in single precision.
    """
    inputs = (rows.features - np.array(mean)) / np.array(std)
    columns = zip(inputs.T, rows.features.T, rows.columns, strict=True)
    models_see = np.stack([single(column, given, where) for column, given, where in columns], axis=1)
    unchanged = not any(mean) and set(std) == {1.0}
    return models_see if unchanged else rows.features
