"""Data of the explorer: distributions of all metrics and the maps of a few samples, in bounded size.

The boxes are over all samples. Points and maps are those of the first samples in the order in which they were drawn,
which is random; how many there is room for depends on the size of the study alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from approxgrad.evaluation.frames import read_shown
from approxgrad.evaluation.metrics import METRICS
from approxgrad.evaluation.truths import TRUTHS
from approxgrad.figures.boxes import jitter
from approxgrad.figures.triples import class_name, image
from approxgrad.report import wording
from approxgrad.storage.attributions import Attributions, read_attributions
from approxgrad.storage.table_checks import TableError

Array = NDArray[np.float64]

# Chromium opens a page inside a report only up to 1.5 MB, of which the chart library takes a quarter.
MOST_POINTS, POINT_BUDGET = 100, 100_000  # points of one source and metric, and numbers of all points together
MOST_SAMPLES, MAP_BUDGET = 12, 350_000
"""Samples of one comparison whose maps are shown, and numbers of all maps together."""
SIDES, FEWEST_SAMPLES = (48, 32, 24, 16), 3
"""Longest sides of a map: the largest with room for some samples. A larger map is coarsened by averaging blocks."""
QUANTILES = {"low": 0.05, "lower": 0.25, "median": 0.5, "upper": 0.75, "high": 0.95}
REFERENCE = "the reference attribution"


@dataclass(frozen=True)
class Comparison:
    """What was computed for one data set, model and method."""

    labels: Mapping[str, str]  # names for readers by key: dataset, model and method
    families: Mapping[str, Mapping[str, Any]]  # looks of the gradient sources
    is_image: bool  # whether inputs can be shown as pictures
    metrics: pd.DataFrame  # of every sample
    exact: Attributions  # what the approximated ones are compared with: the samples that were drawn first
    approximated: Sequence[Attributions]  # the same of each approximated gradient
    against: str = "exact"  # what they are compared with, in a few words of letters

    def source(self, family: str, setting: float | None) -> str:
        """Return the name of a gradient source for readers."""
        look = self.families[family]
        if setting is None or math.isnan(setting):
            return str(look["label"])
        return f"{look['label']}, {wording.setting(setting, look)}"

    def place(self, family: str, setting: float | None) -> tuple[int, float]:
        """Return the place of a gradient source among the others, as in figures."""
        without = setting is None or math.isnan(setting)
        return list(self.families).index(family), -math.inf if without else float(setting or 0)

    def map_shape(self, side: int) -> list[int]:
        """Return the shape of a map that is coarsened to a longest side."""
        shape = self.exact.metadata["feature_shape"]
        if not self.is_image:
            return [1, len(self.exact.names.shown) or math.prod(shape)]
        block = math.ceil(max(shape[1:]) / side)
        return [math.ceil(length / block) for length in shape[1:]]


def read_comparison(
    names: Sequence[str], metrics: Path | str, exact: Path | str, approximated: Sequence[Path | str], **described: Any
) -> Comparison:
    """Return a comparison of a data set, model and method; of the maps, only those that there may be room for."""
    first = slice(MOST_SAMPLES)
    files = [read_attributions(path, first) for path in (exact, *approximated)]
    if not set.intersection(*(set(file.sample.tolist()) for file in files)):
        raise TableError(f"{', '.join(names)}: the attributions have no sample in common")
    return Comparison(metrics=read_shown(metrics, *names), exact=files[0], approximated=files[1:], **described)


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
        # Input, exact map, true effects and differences.
        needed = sum((len(item.approximated) + 3) * math.prod(item.map_shape(side)) for item in comparisons)
        samples = MAP_BUDGET // max(1, needed)
        if samples >= FEWEST_SAMPLES:
            break
    return Limits(min(MOST_POINTS, points), min(MOST_SAMPLES, max(1, samples)), side)


def chart_data(item: Comparison, room: Limits) -> dict[str, Any]:
    """Return the data of the charts of a comparison, ready for JSON.

    ``recommended``: the source with the smallest median relative error against the reference.
    ``boxes``: a row for each reference and source, with the distribution of each metric. ``points``: a row for each of
    them and sample, with the values. ``scales``: for each reference and metric, the ends of an axis and whether it is
    logarithmic. ``shape`` of a map, and the ``features`` of a table by number. ``rows``: for each sample with maps, the
    input and the exact map. ``differences``: a row for each of these samples and approximated source. Maps are integers
    with the factor that gives their values.
    """
    present = [set(result.sample.tolist()) for result in item.approximated]
    mapped = [int(n) for n in item.exact.sample if all(n in known for known in present)][: room.samples]
    kept = [int(sample) for sample in dict.fromkeys(item.metrics["sample"])][: room.points]
    boxes: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    words = item.metrics["reference"].map(TRUTHS).fillna(REFERENCE)
    for reference in filter(set(words).__contains__, (REFERENCE, *TRUTHS.values())):
        own, dots = _distributions(item, item.metrics[words == reference], kept)
        boxes += [row | {"reference": reference} for row in own]
        points += [row | {"reference": reference, "mapped": row["sample"] in mapped} for row in dots]
    side = room.side
    approximated = sorted(
        item.approximated, key=lambda result: item.place(result.metadata["family"], result.metadata["setting"])
    )
    nearest = [box["source"] for box in boxes if box["reference"] == REFERENCE and box["relative_error"]["nearest"]]
    exact = _maps(item, item.exact, mapped, side)
    extra = {} if item.exact.truth is None else {"truth": item.exact.truth[_rows(item.exact, mapped)].astype(float)}
    features = [] if item.is_image else item.exact.names.shown or tuple(map(str, range(1, item.map_shape(side)[1] + 1)))
    return {
        "recommended": next(iter(nearest), _source(item, approximated[0])),
        "boxes": boxes,
        "points": points,
        "scales": _scales(boxes, points),
        "shape": item.map_shape(side),
        "features": [{"number": number, "feature": name} for number, name in enumerate(features, 1)],
        "rows": [
            {
                "sample": sample,
                "name": _name(item, sample),
                "input": _input(item, sample, side),
                **_packed(values, "exact"),
            }
            | {name: [_rounded(value) for value in own[row]] for name, own in extra.items()}
            for row, (sample, values) in enumerate(zip(mapped, exact, strict=True))
        ],
        "differences": [
            {"sample": sample, "source": source, **_packed(values - base, "difference")}
            for result in approximated
            for source in [_source(item, result)]
            for sample, values, base in zip(mapped, _maps(item, result, mapped, side), exact, strict=True)
        ],
    }


def _source(item: Comparison, result: Attributions) -> str:
    return item.source(result.metadata["family"], result.metadata["setting"])


def _name(item: Comparison, sample: int) -> str:
    target, origin = class_name(item.exact, sample), item.exact.origin
    parts = [f"row {sample}", *([f"class {target}"] if target is not None else [])]
    return ", ".join(parts + ([] if origin is None else [f"origin {origin[_rows(item.exact, [sample])[0]]}"]))


def _distributions(
    item: Comparison, rows: pd.DataFrame, samples: list[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the boxes and the points of every source, in the order of figures."""
    medians = rows.groupby("gradient", observed=True)[[*METRICS]].median()
    best = {name: (medians[name] - metric.best).abs() for name, metric in METRICS.items()}
    boxes, points = [], []
    groups = [
        (str(family), float(str(setting)), gradient, table)
        for (family, setting, gradient), table in rows.groupby(
            ["family", "setting", "gradient"], dropna=False, observed=True
        )
    ]
    for family, setting, gradient, table in sorted(groups, key=lambda group: item.place(*group[:2])):
        source, values = item.source(family, setting), table.set_index("sample")[[*METRICS]].astype(float)
        box: dict[str, Any] = {"source": source, "rows": len(table)}
        for name in METRICS:
            known = values[name].dropna()
            nearest = best[name][str(gradient)] == best[name].min()
            quantiles = {key: _rounded(float(known.quantile(q))) for key, q in QUANTILES.items()} if len(known) else {}
            box[name] = {"n": len(known), "nearest": bool(nearest), **quantiles}
        boxes.append(box)
        for sample, offset, row in zip(samples, jitter(len(samples)), values.reindex(samples).to_numpy(), strict=True):
            own = dict(zip(METRICS, map(_rounded, row), strict=True))
            points.append({"source": source, "sample": sample, "jitter": _rounded(offset), **own})
    return boxes, points


def _scales(boxes: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each reference and metric whether its axis is logarithmic, and its ends in the unit of the axis.

    An error over more than two decades is; values of a correlation that agree to the last digits are not blown up.
    """
    scales: dict[str, dict[str, Any]] = {}
    for reference in dict.fromkeys(box["reference"] for box in boxes):
        for name, metric in METRICS.items():
            own = [box[name].get(end) for box in boxes if box["reference"] == reference for end in ("low", "high")]
            own += [row[name] for row in points if row["reference"] == reference]
            values = [value for value in own if value is not None]
            low, high = (min(values), max(values)) if values else (0.0, 1.0)
            error = metric.best == metric.lower
            logarithmic = error and low > 0 and high / low > 100
            if logarithmic:
                low, high = math.log10(low), math.log10(high)
            elif math.isfinite(metric.lower) and not error:
                low = min(low, high - 0.1)
            margin = 0.03 * (high - low) or abs(high) or 1.0
            ends = {"low": _rounded(low - margin), "high": _rounded(high + margin)}
            scales.setdefault(reference, {})[name] = {"logarithmic": logarithmic, **ends}
    return scales


def _rows(result: Attributions, samples: list[int]) -> list[int]:
    position = {sample: row for row, sample in enumerate(result.sample.tolist())}
    return [position[sample] for sample in samples]


def _maps(item: Comparison, result: Attributions, samples: list[int], side: int) -> list[Array]:
    """Return the maps of some samples: of an image (H, W), summed over the channels; otherwise (d,)."""
    values = np.asarray(result.attribution[_rows(result, samples)], np.float64)
    if not item.is_image:
        return list(item.exact.names.totals(values))
    maps = values.reshape(len(samples), *result.metadata["feature_shape"]).sum(axis=1)
    return [_coarse(pixels, side) for pixels in maps]


def _input(item: Comparison, sample: int, side: int) -> list[Any]:
    """Return the colours of an image as hexadecimal text, or the values of the features."""
    if not item.is_image:
        return _feature_values(item, _rows(item.exact, [sample])[0])
    pixels = np.rint(255 * _coarse(image(item.exact, sample), side)).astype(np.uint8)
    colours = np.broadcast_to(pixels[..., None], (*pixels.shape, 3)) if pixels.ndim == 2 else pixels
    return [colour.tobytes().hex() for colour in colours.reshape(-1, 3)]


def _feature_values(item: Comparison, row: int) -> list[Any]:
    """Return the inputs of a table's row: a number for each feature, and its category for a group of features."""
    names, values = item.exact.names, item.exact.inputs[row]
    if not names.groups:
        return [_rounded(value) for value in values]
    shown: list[Any] = []
    for group in names.shown:
        own = [place for place, name in enumerate(names.groups) if name == group]
        largest = names.features[max(own, key=lambda place: values[place])]
        shown.append(largest.removeprefix(f"{group}=") if largest != group else _rounded(values[own[0]]))
    return shown


def _coarse(pixels: Array, side: int) -> Array:
    """Return the means of square blocks of a picture (H, W, ...) that is too large, any other as it is."""
    block = math.ceil(max(pixels.shape[:2]) / side)
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], block)
        sizes = np.diff([*starts, pixels.shape[axis]])
        sums = np.add.reduceat(pixels, starts, axis=axis)
        pixels = sums / sizes.reshape([-1 if other == axis else 1 for other in range(pixels.ndim)])
    return pixels


def _packed(values: Array, name: str) -> dict[str, Any]:
    """Return a map as integers, and the factor that gives its values back: a colour needs one byte, a bar two."""
    largest = 127 if values.ndim == 2 else 32767
    scale = float(np.abs(values).max()) / largest
    return {name: np.rint(values / (scale or 1)).astype(int).ravel().tolist(), f"{name}_scale": _rounded(scale)}


def _rounded(value: float) -> float | None:
    """Return a number with six significant digits; None if it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
