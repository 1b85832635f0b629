"""The results of a study as data frames, with the names of its data sets, features and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from approxgrad.storage.attributions import read_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.table_file import TableFile

MAPS = ("attributions", "gradients")
"""Tables of maps, which are long: one row for each feature."""


def read_results(table: str = "metrics", folder: Path | str = "results", **keys: str) -> pd.DataFrame:
    """Read a table of a finished study.

    Parameters
    ----------
    table : str
        A folder of the results: ``metrics``, ``attributions``, ``completeness``, ``test_metrics``,
        ``learning_curves``, ...; of ``summary`` the file, such as ``summary/metrics``.
    folder : path
        The results, by default those in the working directory.
    **keys
        Names to keep: ``dataset``, ``model``, ``method`` and ``gradient``, as far as the table has them.

    Returns
    -------
    DataFrame
        The rows of all files, with what their paths say as first columns. Of maps a row for each sample and feature:
        ``sample``, ``origin`` (row of the table, or file of the image, where known), ``target`` (name of the explained
        class), ``feature`` and ``group`` (name, and column of the data that it is from; numbers from 0 on where the
        features have no names), ``input`` as the model sees it, ``attribution``, and ``truth`` where it is known.

    Raises
    ------
    TableError
        If there is no such table, no file has the keys, or a file cannot be read.

    Examples
    --------
    >>> from approxgrad import read_results
    >>> maps = read_results("attributions", model="mlp", method="saliency")  # doctest: +SKIP
    >>> maps.groupby(["gradient", "group"])["attribution"].mean()  # doctest: +SKIP
    """
    place = Path(folder) / table
    files = (
        [place.with_suffix(".parquet")] if place.with_suffix(".parquet").is_file() else sorted(place.rglob("*.parquet"))
    )
    if not files:
        known = sorted({own.parent.name if own.is_file() else own.name for own in Path(folder).glob("*")})
        raise TableError(f"{place}: holds no table; {folder} has {', '.join(known) or 'nothing'}")
    parts = []
    for file in files:
        own = dict(part.split("=", 1) for part in file.relative_to(folder).parts if "=" in part)
        missing = sorted(set(keys) - set(own))
        if missing:
            raise TableError(f"{file}: does not say its {missing[0]}; expected one of {', '.join(own) or 'no keys'}")
        if all(own[key] == value for key, value in keys.items()):
            frame = _maps(file) if Path(table).name in MAPS else TableFile(file).read().to_pandas()
            parts.append(pd.concat([pd.DataFrame(own, index=frame.index), frame], axis=1))
    if not parts:
        raise TableError(f"{place}: has no file with {', '.join(f'{key}={value}' for key, value in keys.items())}")
    return pd.concat(parts, ignore_index=True)


def _maps(path: Path) -> pd.DataFrame:
    """Return an attribution file with a row for each sample and feature."""
    found = read_attributions(path)
    rows, width = found.attribution.shape
    names, source = found.names, found.metadata
    features: Any = names.features or np.arange(width)
    classes = np.array([*names.classes], object)
    columns: dict[str, Any] = {"sample": np.repeat(found.sample, width)}
    if found.origin is not None:
        columns["origin"] = np.repeat(found.origin.astype(object), width)
    if found.target is not None:
        columns["target"] = np.repeat(classes[found.target] if names.classes else found.target, width)
    columns |= {key: source[key] for key in ("family", "setting", "setting_name", "dtype")}
    columns["feature"] = np.tile(np.asarray(features, object if names.features else None), rows)
    columns["group"] = np.tile(np.asarray(names.groups or features, object if names.features else None), rows)
    columns |= {"input": found.inputs.ravel(), "attribution": found.attribution.ravel()}
    if found.truth is not None:
        columns["truth"] = found.truth.ravel()
    return pd.DataFrame(columns)
