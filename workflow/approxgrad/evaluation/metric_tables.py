"""From attributions to tables: metrics of every sample, and their summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from approxgrad.evaluation.frames import KEYS, read_comparisons, source_columns
from approxgrad.evaluation.matched_truth import MatchedTruth
from approxgrad.evaluation.metrics import METRICS, Array, compare, reported
from approxgrad.evaluation.truths import MATCHED, TRUTH
from approxgrad.evaluation.uncertainty import Bootstrap, intervals
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Source, exact_source
from approxgrad.storage.attributions import attribution_file
from approxgrad.storage.cached_arrays import read_arrays
from approxgrad.storage.names import names_of
from approxgrad.storage.table_checks import TableError, matrix
from approxgrad.storage.table_file import TableFile

COMPARED = ["attribution", "input", "truth"]  # columns of an attribution file that are needed here


TAIL = 0.95
"""Share of the samples that are nearer to perfect agreement than the tail that a summary gives."""


def evaluate_method(
    exact: Sequence[Path | str],
    approximated: Sequence[Path | str],
    twin: str = "",
    described: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Return the metrics of every sample of one data set, model and method, from its attribution files.

    There is a row for each gradient source, reference and sample: :data:`approxgrad.evaluation.frames.SOURCE`,
    ``reference``, ``sample``, its ``origin`` where that is known, and a column for each metric, null where it is
    undefined. Approximated attributions are compared with ``exact`` of the same precision, with ``exact of`` the `twin`
    that the exact ones are of, or with the source that stands in for it; all of them with the ``truth``, where it is
    known, and with the ``matched truth`` of the method, where the effects are known as functions: `described` is what
    :class:`approxgrad.evaluation.matched_truth.MatchedTruth` takes. The features of a categorical column count as one,
    with the sum of their values. A TableError says that a sample or a precision
    lacks its exact attribution, or that the maps differ in size.
    """
    references = {}
    parts = []
    for path in exact:
        file = attribution_file(path, COMPARED)
        references[file.metadata["dtype"]] = file
        # How well a twin agrees with the truth stands in its own table.
        parts += [] if twin else _measured_file(file, None, described=described)
    for path in approximated:
        file = attribution_file(path, COMPARED)
        dtype = file.metadata["dtype"]
        if dtype not in references and len(references) == 1:
            (other,) = references.values()
            if other.metadata["gradient"] != exact_source(other.metadata["dtype"]).name:
                references[dtype] = other  # A source stands in for all exact ones.
        if dtype not in references:
            raise TableError(f"{path}: has no exact attribution of {dtype}")
        parts += _measured_file(file, references[dtype], twin, described)
    return pa.concat_tables(parts)


def method_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> pa.Table:
    """Return the table of :func:`evaluate_method` for a rule."""
    return evaluate_method(inputs["exact"], inputs["approximated"], params["twin"], params["truth"])


def _measured_file(
    file: TableFile, exact: TableFile | None, twin: str = "", described: Mapping[str, Any] | None = None
) -> list[pa.Table]:
    """Compare the maps of a file with the exact ones, if given, and with the truth, piece by piece to save memory."""
    columns = [name for name in ("sample", "origin") if name in file.schema.names]
    samples = file.read(columns)
    sample = samples["sample"].to_numpy()
    positions = None if exact is None else _positions(exact, sample, file.path)
    against = "exact" if exact is None else exact.metadata["gradient"].removesuffix(f"-{exact.metadata['dtype']}")
    against += f" of {twin}" if twin else ""
    names = names_of(file.metadata)
    found: dict[str, list[dict[str, Array]]] = {against: [], TRUTH: [], MATCHED: []}
    matched = MatchedTruth(described or {}, file.metadata)
    signed = file.metadata.get("signed", True)
    done = pieces = 0
    for piece in file.pieces(COMPARED):
        maps = matrix(piece["attribution"], "attribution", file.path)
        if exact is not None and positions is not None:
            taken = exact.take(positions[done : done + len(piece)], ["attribution"])
            reference = matrix(taken["attribution"], "attribution", exact.path)
            if maps.shape[1] != reference.shape[1]:
                widths = maps.shape[1], reference.shape[1]
                raise TableError(f"{file.path}: has {widths[0]} features, the exact attribution {widths[1]}")
            found[against].append(compare(names.totals(maps), names.totals(reference), signed=signed))
        if piece["truth"].null_count < len(piece):
            truth = matrix(piece["truth"], "truth", file.path)
            found[TRUTH].append(compare(names.totals(maps), names.totals(truth), signed=signed))
            own = matched(matrix(piece["input"], "input", file.path).astype(float))
            found[MATCHED] += [] if own is None else [compare(names.totals(maps), names.totals(own), signed=signed)]
        done, pieces = done + len(piece), pieces + 1
    if len(found[TRUTH]) not in (0, pieces):
        raise TableError(f"{file.path}: column truth does not hold lists of one length")
    return [
        _measure_table(
            samples,
            {metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS},
            file.metadata,
            name,
        )
        for name, parts in found.items()
        if parts
    ]


def arrays_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> pa.Table:
    """Return the metrics of every sample of cached maps, with the columns of :func:`evaluate_method`, for a rule.

    The ``arrays`` are files for :func:`approxgrad.storage.cached_arrays.read_arrays` with the names of the parameter
    ``arrays``; ``steps`` has the step of each, ``scheme`` the finite-difference scheme of all.
    """
    parts = []
    for path, step in zip(inputs["arrays"], params["steps"], strict=True):
        exact, approximated = read_arrays(path, params["arrays"])
        source = Source(Difference(params["scheme"], (step,)), step)
        described = {
            "gradient": source.name,
            "family": source.family,
            "setting": step,
            "setting_name": source.kind.setting_name,
            "chosen": source.chosen,
            "dtype": source.dtype,
            "evaluations": source.evaluations(exact.shape[1]),
        }
        parts.append(
            _measure_table(
                pa.table({"sample": np.arange(len(exact))}), compare(approximated, exact), described, "exact"
            )
        )
    return pa.concat_tables(parts)


def _measure_table(
    samples: pa.Table, values: Mapping[str, Array], source: Mapping[str, Any], reference: str
) -> pa.Table:
    """Return the metrics of some samples, which have a number and perhaps an origin, as a table."""
    rows = len(samples)
    columns = source_columns(source, rows) | {"reference": pa.array([reference] * rows), "sample": samples["sample"]}
    columns["origin"] = samples["origin"] if "origin" in samples.column_names else pa.nulls(rows, pa.string())
    columns |= {metric: pa.array(measured, mask=np.isnan(measured)) for metric, measured in values.items()}
    return pa.table(columns)


def _positions(exact: TableFile, sample: NDArray[np.int64], path: Path | str) -> NDArray[np.int64]:
    """Return the rows of the exact attributions of some samples."""
    known = {number: row for row, number in enumerate(exact.read(["sample"])["sample"].to_pylist())}
    missing = [number for number in sample.tolist() if number not in known]
    if missing:
        raise TableError(f"{path}: sample {missing[0]} has no exact attribution")
    return np.array([known[number] for number in sample.tolist()])


def summarise(metrics: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return the distribution of every metric over the samples of metric tables.

    There is a row for each of :data:`KEYS` and ``metric``: ``mean``, the ends ``mean_low`` and ``mean_high`` of its
    interval, ``std`` (population), ``median``, ``median_low``, ``median_high``, ``lower_quartile``, ``upper_quartile``,
    ``n`` (samples with a value) and ``undefined`` (samples without one). ``tail`` is the value of the 95th percentile
    of the distances from perfect agreement, which 19 of 20 samples are nearer than; ``worst`` is the farthest value,
    that of ``worst_sample``. Metrics of signs are left out for maps without signs.
    """
    tidy = metrics.melt(id_vars=[*KEYS, "sample"], value_vars=list(METRICS), var_name="metric").reset_index(drop=True)
    groups = _grouped(tidy)
    estimates = intervals([values.to_numpy() for _, values in groups], bootstrap)
    counts = groups.agg(n="count", size="size")
    best: dict[str, float] = {name: metric.best for name, metric in METRICS.items()}
    tails = _tails(tidy, tidy["metric"].map(best))
    columns = {
        **{name: estimates[name].to_numpy() for name in ("mean", "mean_low", "mean_high")},
        "std": groups.std(ddof=0),
        **{name: estimates[name].to_numpy() for name in ("median", "median_low", "median_high")},
        "lower_quartile": groups.quantile(0.25),
        "upper_quartile": groups.quantile(0.75),
        "tail": tails["tail"],
        "worst": tails["worst"],
        "worst_sample": tails["worst_sample"],
        "n": counts["n"],
        "undefined": counts["size"] - counts["n"],
    }
    return reported(pd.DataFrame(columns, index=counts.index).reset_index())


def _tails(tidy: pd.DataFrame, best: pd.Series[float]) -> pd.DataFrame:
    """Return the tail, the worst value and its sample of every group of a tidy table, by the :func:`_grouped` index."""
    distances = _grouped(tidy.assign(value=(tidy["value"] - best).abs()))
    # A group without values has no worst one.
    places = distances.agg(lambda values: values.idxmax() if values.notna().any() else -1)
    worst = tidy[["value", "sample"]].reindex(places).set_axis(places.index)
    centre = _grouped(tidy.assign(value=best)).first()
    # The distance is that of a value on the side of the worst one.
    tail = centre + np.sign(worst["value"] - centre) * distances.quantile(TAIL)
    return pd.DataFrame({"tail": tail, "worst": worst["value"], "worst_sample": worst["sample"].astype("Int64")})


def _grouped(tidy: pd.DataFrame) -> Any:
    return tidy.groupby([*KEYS, "metric"], sort=False, dropna=False, observed=True)["value"]


def summary_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the summary of a study for a rule, and how its intervals were computed."""
    bootstrap = Bootstrap(params["seed"], **params["uncertainty"])
    metrics = read_comparisons(inputs["metrics"], params["comparisons"])
    return summarise(metrics, bootstrap), {"uncertainty": asdict(bootstrap)}


def published_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the summary of cached maps for a rule: the source takes the place of data set and model."""
    named = {**params, "comparisons": [(source, "published", method) for source, method in params["sources"]]}
    summary, metadata = summary_table(inputs, named)
    return summary.drop(columns="model").rename(columns={"dataset": "source"}), metadata
