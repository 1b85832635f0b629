"""What a picture of attribution maps shows: the exact and the approximated maps of each image and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from approxgrad.figures.figure import Keys
    from approxgrad.storage.attributions import Attributions

Column = tuple[str, "Attributions", "Attributions"]
"""Name of a method, its approximated and its exact attributions."""

SAMPLES = 3
"""Images of one figure: the first of the randomly drawn test rows."""


@dataclass(frozen=True)
class Triple:
    """The maps of one sample and method: (C, H, W) in the precision of the file."""

    sample: int
    method: str
    exact: NDArray[np.floating[Any]]
    approximated: NDArray[np.floating[Any]]
    inputs: NDArray[np.floating[Any]]
    target: str | None  # the name of the explained class, or its number

    @property
    def difference(self) -> NDArray[np.float64]:
        """Approximated minus exact, in float64."""
        return np.asarray(self.approximated, np.float64) - np.asarray(self.exact, np.float64)

    def measure(self, metric: str) -> float:
        """Return a metric over all features, as the metric tables have it."""
        from approxgrad.evaluation.metrics import METRICS

        flat = [np.asarray(maps, np.float64).reshape(1, -1) for maps in (self.approximated, self.exact)]
        return float(METRICS[metric].function(*flat)[0])


def read_columns(
    methods: Sequence[str], approximated: Sequence[Path | str], exact: Sequence[Path | str]
) -> list[Column]:
    """Return the columns of a picture from its attribution files, of which only what is shown is read."""
    from approxgrad.storage.attributions import read_attributions
    from approxgrad.storage.table_file import TableFile

    held = {
        path: TableFile(path, ["sample"]).read(["sample"])["sample"].to_pylist() for path in (*approximated, *exact)
    }
    shown = common_samples(list(held.values()))[:SAMPLES]

    def read(path: Path | str) -> Attributions:
        return read_attributions(path, [held[path].index(sample) for sample in shown])

    return [(method, read(own), read(other)) for method, own, other in zip(methods, approximated, exact, strict=True)]


def map_triples(columns: Sequence[Column]) -> list[list[Triple]]:
    """Return the maps of the first samples that all files have: a list for each sample, an entry for each column."""
    if not columns:
        raise ValueError("columns: expected at least one method, got none")
    common = common_samples([attributions.sample.tolist() for _, *pair in columns for attributions in pair])
    return [
        [
            Triple(
                sample,
                method,
                exact=_channels(exact, "attribution", sample),
                approximated=_channels(approximated, "attribution", sample),
                inputs=_channels(approximated, "inputs", sample),
                target=class_name(approximated, sample),
            )
            for method, approximated, exact in columns
        ]
        for sample in common[:SAMPLES]
    ]


def map_numbers(columns: Sequence[Column], keys: Keys) -> pd.DataFrame:
    """Return what :func:`attribution_maps` draws, a row for each method, sample, channel and pixel."""
    import pandas as pd

    parts = []
    for triples in map_triples(columns):
        for triple, (_, approximated, _) in zip(triples, columns, strict=True):
            channel, row, column = (index.ravel() for index in np.indices(triple.exact.shape))
            source = {name: approximated.metadata[name] for name in ("family", "setting", "setting_name")}
            values = {
                "channel": channel,
                "row": row,
                "column": column,
                "input": triple.inputs.ravel(),
                "exact": triple.exact.ravel(),
                "approximated": triple.approximated.ravel(),
                "difference": triple.difference.ravel(),
            }
            parts.append(pd.DataFrame({**keys, "method": triple.method, **source, "sample": triple.sample, **values}))
    return pd.concat(parts, ignore_index=True)


def image(attributions: Attributions, sample: int) -> NDArray[np.float64]:
    """Return the input of a sample as a picture in [0, 1]: shape (H, W), or (H, W, 3) in colour."""
    channels = np.asarray(_channels(attributions, "inputs", sample), np.float64)
    normalisation = attributions.metadata["normalisation"]
    mean, std = (np.reshape(normalisation[name], (-1, 1, 1)) for name in ("mean", "std"))
    picture = np.clip(channels * std + mean, 0, 1)
    return picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)


def class_name(attributions: Attributions, sample: int) -> str | None:
    """Return the name of the class that is explained of a sample, or its number; None where there are no classes."""
    number, classes = _value(attributions, "target", sample), attributions.names.classes
    return None if number is None else classes[number] if number < len(classes) else str(number)


def common_samples(files: Sequence[Sequence[int]]) -> list[int]:
    """Return the samples that all files have, in the order of the first."""
    known = [set(samples) for samples in files]
    common = [sample for sample in files[0] if all(sample in samples for samples in known)]
    if not common:
        raise ValueError("columns: the attributions have no sample in common")
    return common


def _value(attributions: Attributions, field: str, sample: int) -> Any:
    """Return what a field holds for a sample, which is found by its number."""
    values = getattr(attributions, field)
    return None if values is None else values[int(np.flatnonzero(attributions.sample == sample)[0])]


def _channels(attributions: Attributions, field: str, sample: int) -> NDArray[np.floating[Any]]:
    shape = attributions.metadata["feature_shape"]
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"feature_shape: got {shape}, expected an image of 1 or 3 channels, [C, H, W]")
    return np.asarray(_value(attributions, field, sample)).reshape(shape)
