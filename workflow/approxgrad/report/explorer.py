"""Data of the explorer: distributions of all measures and the maps of a few samples, in bounded size.

The boxes are over all samples. Points and maps are those of the first samples in the order in which they were drawn,
which is random; how many there is room for depends on the size of the study alone.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from approxgrad.evaluation.frames import read_step_metrics
from approxgrad.evaluation.metrics import METRICS
from approxgrad.figures.boxplots import jitter
from approxgrad.figures.maps import image
from approxgrad.figures.style import method_label, name_label, step_label
from approxgrad.storage.tables import Attributions, TableError, read_attributions

Array = NDArray[np.float64]

# Chromium opens a page inside a report only up to 1.5 MB, of which the chart library takes a quarter.
MOST_POINTS, POINT_BUDGET = 100, 100_000
"""Points of one source and measure, and numbers of all points together."""
MOST_SAMPLES, MAP_BUDGET = 12, 450_000
"""Samples of one comparison whose maps are shown, and bytes of all maps together."""
SIDES, FEWEST_SAMPLES = (48, 32, 24, 16), 3
"""Longest sides of a map: the largest with room for some samples. A larger map is coarsened by averaging blocks."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Comparison:
    """What was computed for one data set, model and method.

    Attributes
    ----------
    dataset, model, method : str
        Names.
    metrics : DataFrame
        Measures of every sample, :func:`approxgrad.evaluation.metric_tables.evaluate_method`.
    exact : Attributions
        What the approximated ones are compared with: the samples that were drawn first.
    approximated : sequence of Attributions
        The same of each finite difference, in the order in which they are offered.
    """

    dataset: str
    model: str
    method: str
    metrics: pd.DataFrame
    exact: Attributions
    approximated: Sequence[Attributions]


def read_comparisons(
    names: Sequence[tuple[str, str, str]],
    metrics: Sequence[Path | str],
    exact: Sequence[Path | str],
    approximated: Sequence[Sequence[Path | str]],
) -> list[Comparison]:
    """Return the comparisons of a study; of the maps, only those that there may be room for.

    Parameters
    ----------
    names : sequence of tuple of str
        Data set, model and method of each comparison.
    metrics, exact : sequence of path
        Its metric table, and the exact attribution that it is compared with.
    approximated : sequence of sequence of path
        Its approximated attributions.

    Raises
    ------
    TableError
        If a table cannot be read.
    """
    first = slice(MOST_SAMPLES)
    return [
        Comparison(
            *key,
            read_step_metrics(table, *key),
            read_attributions(reference, first),
            [read_attributions(path, first) for path in paths],
        )
        for key, table, reference, paths in zip(names, metrics, exact, approximated, strict=True)
    ]


@dataclass(frozen=True)
class Limits:
    """What there is room for: points of a source, samples with maps, and the longest side of a map."""

    points: int
    samples: int
    side: int


def limits(comparisons: Sequence[Comparison]) -> Limits:
    """Return what there is room for; at least one sample of every comparison is."""
    distributions = sum(len(item.metrics.groupby(["reference", "gradient"], observed=True)) for item in comparisons)
    points = POINT_BUDGET // (max(1, distributions) * len(METRICS))
    for side in SIDES:
        samples = MAP_BUDGET // max(1, sum(_map_bytes(item, side) for item in comparisons))
        if samples >= FEWEST_SAMPLES:
            break
    return Limits(min(MOST_POINTS, points), min(MOST_SAMPLES, max(1, samples)), side)


def _map_bytes(item: Comparison, side: int) -> int:
    """Return the bytes of one sample's maps: inputs, exact, true effects and differences."""
    maps = len(item.approximated) + 2 + (item.exact.metadata["feature_shape"][0] if _is_image(item.exact) else 1)
    return maps * math.prod(_map_shape(item.exact, side)) * _integer(item.exact).itemsize


def explorer_data(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return everything that the explorer shows, ready for JSON.

    Parameters
    ----------
    comparisons : sequence of Comparison
        In the order in which they are offered.

    Raises
    ------
    TableError
        If the attributions of a comparison have no sample in common.
    """
    room = limits(comparisons)
    return {
        "metrics": [
            {"name": name, "label": metric.label, "best": metric.best, "error": metric.best == 0}
            for name, metric in METRICS.items()
        ],
        "comparisons": [_comparison(item, room) for item in comparisons],
    }


def _comparison(item: Comparison, room: Limits) -> dict[str, Any]:
    samples = [int(sample) for sample in dict.fromkeys(item.metrics["sample"])][: room.points]
    return {
        "dataset": item.dataset,
        "model": item.model,
        "method": item.method,
        "labels": {
            "dataset": name_label(item.dataset),
            "model": name_label(item.model),
            "method": method_label(item.method),
        },
        "sources": [_source(result.metadata["scheme"], result.metadata["step"]) for result in item.approximated],
        "references": {
            str(reference): _distributions(rows, samples)
            for reference, rows in item.metrics.groupby("reference", sort=True, observed=True)
        },
        "samples": samples,
        "jitter": _rounded(jitter(len(samples))),
        "maps": _maps(item, _common_samples(item)[: room.samples], room.side),
    }


def _source(scheme: str, step: float | None) -> str:
    return scheme if step is None else f"{scheme}, h = {step_label(step)}"


def _common_samples(item: Comparison) -> list[int]:
    """Return the samples that all attributions have, in the order in which they were drawn."""
    files = [*item.approximated, item.exact]
    present = [set(result.sample.tolist()) for result in files]
    samples = [int(sample) for sample in files[0].sample if all(sample in known for known in present)]
    if not samples:
        raise TableError(f"{item.dataset}, {item.model}, {item.method}: the attributions have no sample in common")
    return samples


def _distributions(rows: pd.DataFrame, samples: list[int]) -> list[dict[str, Any]]:
    """Return the distribution of every measure for each gradient source, exact first, then by scheme and step.

    The boxes whose medians are nearest to perfect agreement are marked.
    """
    keyed = rows.assign(approximated=rows["step"].notna())
    groups = keyed.groupby(["approximated", "scheme", "step"], sort=True, observed=True, dropna=False)
    result: list[dict[str, Any]] = []
    medians = []
    for (approximated, scheme, _), table in groups:
        ordered = table.set_index("sample")
        columns = {name: ordered[name].astype(float) for name in METRICS}
        medians.append({name: values.median() for name, values in columns.items()})
        result.append(
            {
                "source": _source(str(scheme), float(table["step"].iloc[0]) if approximated else None),
                "rows": len(table),
                "boxes": {name: _box(values.dropna().to_numpy()) for name, values in columns.items()},
                "points": {name: _rounded(values.reindex(samples).to_numpy()) for name, values in columns.items()},
            }
        )
    # Here and not in the page, whose numbers are rounded.
    for name, metric in METRICS.items():
        distances = [abs(own[name] - metric.best) for own in medians]
        nearest = min((distance for distance in distances if math.isfinite(distance)), default=None)
        for entry, distance in zip(result, distances, strict=True):
            if distance == nearest:
                entry["boxes"][name]["nearest"] = True
    return result


def _box(values: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Return number, 5th and 95th percentile, quartiles and median; only the number without values."""
    names = ("low", "lower", "median", "upper", "high")
    if not len(values):
        return {"n": 0}
    return {"n": len(values), **dict(zip(names, _rounded(np.quantile(values, QUANTILES)), strict=True))}


def _maps(item: Comparison, samples: list[int], side: int) -> dict[str, Any]:
    """Return inputs, exact maps, differences from them and true effects of some samples."""
    reference = item.exact
    shape, targets, integer = reference.metadata["feature_shape"], reference.target, _integer(reference)
    exact = _pick(reference, "attribution", samples, side)
    inputs = _pick(reference, "inputs", samples, side)
    document = {
        "shape": list(exact.shape[1:]),
        "channels": shape[0] if _is_image(reference) else 0,
        "coarsened": _is_image(reference) and list(exact.shape[1:]) != list(shape[1:]),
        "bytes": integer.itemsize,
        "samples": samples,
        "targets": None if targets is None else [int(targets[row]) for row in _rows(reference, samples)],
        "inputs": _packed(inputs, integer),
        "exact": _packed(exact, integer),
        "differences": [
            _packed(_pick(result, "attribution", samples, side) - exact, integer) for result in item.approximated
        ],
    }
    if reference.truth is not None:
        document["truth"] = _packed(_pick(reference, "truth", samples, side), integer)
    return document


def _rows(result: Attributions, samples: list[int]) -> list[int]:
    position = {sample: row for row, sample in enumerate(result.sample.tolist())}
    return [position[sample] for sample in samples]


def _pick(result: Attributions, field: str, samples: list[int], side: int) -> Array:
    """Return a field of some samples: maps (H, W) and pictures (H, W) or (H, W, 3) of an image, (d,) otherwise."""
    if not _is_image(result):
        return np.asarray(getattr(result, field)[_rows(result, samples)], np.float64)
    if field == "inputs":
        return np.stack([_coarse(image(result, sample), side) for sample in samples])
    values = np.asarray(getattr(result, field)[_rows(result, samples)], np.float64)
    # Summed over the channels, as the printed maps are.
    maps = values.reshape(len(samples), *result.metadata["feature_shape"]).sum(axis=1)
    return np.stack([_coarse(pixels, side) for pixels in maps])


def _is_image(result: Attributions) -> bool:
    shape = result.metadata["feature_shape"]
    return len(shape) == 3 and shape[0] in (1, 3)


def _map_shape(result: Attributions, side: int) -> list[int]:
    """Return the shape of a map that is coarsened to a longest side."""
    shape = result.metadata["feature_shape"]
    if not _is_image(result):
        return [math.prod(shape)]
    block = math.ceil(max(shape[1:]) / side)
    return [math.ceil(length / block) for length in shape[1:]]


def _coarse(pixels: Array, side: int) -> Array:
    """Return the means of square blocks of a picture (H, W, ...) that is too large, any other as it is."""
    block = math.ceil(max(pixels.shape[:2]) / side)
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], block)
        sizes = np.diff([*starts, pixels.shape[axis]])
        sums = np.add.reduceat(pixels, starts, axis=axis)
        pixels = sums / sizes.reshape([-1 if other == axis else 1 for other in range(pixels.ndim)])
    return pixels


def _integer(result: Attributions) -> np.dtype[Any]:
    """Return the type of packed values: a colour needs one byte, a bar whose value is read off two."""
    return np.dtype("i1" if _is_image(result) else "<i2")


def _packed(values: Array, integer: np.dtype[Any]) -> dict[str, Any]:
    """Return rows as integers in base64, each row with the factor that gives its values back.

    The error is at most half the largest absolute value of the row over 127 or 32767.
    """
    flat = values.reshape(len(values), -1)
    scales = np.abs(flat).max(axis=1) / np.iinfo(integer).max
    integers = np.rint(flat / np.where(scales > 0, scales, 1)[:, None]).astype(integer)
    return {"scales": _rounded(scales), "values": base64.b64encode(integers.tobytes()).decode("ascii")}


def _rounded(values: Any) -> list[float | None]:
    """Return numbers with six significant digits; None where there is none."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in np.asarray(values, float)]
