"""What the summary tables say, as objects that sentences can be written from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from approxgrad.evaluation.frames import study_steps
from approxgrad.evaluation.metrics import METRICS
from approxgrad.figures.style import method_label, name_label, step_label
from approxgrad.storage.tables import read_table
from approxgrad.study.sources import exact_source

Names = tuple[str, str, str]

EXACT = exact_source().name


@dataclass(frozen=True)
class Facts:
    """The tables that a story is told from.

    Attributes
    ----------
    summary : DataFrame
        Distribution of every measure, :func:`approxgrad.evaluation.metric_tables.summarise`.
    models : DataFrame
        Test measures, :func:`approxgrad.evaluation.frames.model_measures`.
    shapes : dict of str to tuple of int
        Shape of one input of each data set.
    classes : dict of str to int
        Number of classes of each data set, 0 for a regression.
    references : dict of str to str
        For each published variant of Integrated Gradients, the method whose exact attribution it is compared with.
    paired : DataFrame or None
        Differences between gradient sources within a sample, where they were computed.
    level : float or None
        Level of the intervals in the summary, where it has some.
    """

    summary: pd.DataFrame
    models: pd.DataFrame
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    paired: pd.DataFrame | None = None
    level: float | None = None


@dataclass(frozen=True)
class Median:
    """The median of a measure over the samples, with its interval where the summary has one."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Curve:
    """The medians of one measure over the steps of one finite-difference scheme, in ascending order.

    Attributes
    ----------
    dataset, model, method, scheme : str
        What is attributed, and how.
    metric : str
        Name of the measure.
    steps, medians : tuple
        Of equal length, at least one.
    samples, undefined : int
        The most samples of a step, and the most that a step leaves out because the measure is undefined.
    """

    dataset: str
    model: str
    method: str
    scheme: str
    metric: str
    steps: tuple[float, ...]
    medians: tuple[Median, ...]
    samples: int
    undefined: int

    @property
    def names(self) -> Names:
        """Data set, model and method."""
        return (self.dataset, self.model, self.method)

    @property
    def best(self) -> int:
        """Position of the step whose median is nearest to perfect agreement; of equal ones, the first."""
        distances = [abs(median.value - METRICS[self.metric].best) for median in self.medians]
        return distances.index(min(distances))

    @property
    def range(self) -> float:
        """Difference between the largest and the smallest median."""
        values = [median.value for median in self.medians]
        return max(values) - min(values)

    def step(self, position: int) -> str:
        """Return a step as it stands in a sentence."""
        return f"h = {step_label(self.steps[position])}"

    def within(self, other: Curve) -> list[tuple[Median, Median]]:
        """Return the medians of this and another curve at the steps that both have."""
        theirs = dict(zip(other.steps, other.medians, strict=True))
        return [(own, theirs[step]) for step, own in zip(self.steps, self.medians, strict=True) if step in theirs]


def read_facts(
    summary: Path | str,
    models: Path | str,
    splits: Mapping[str, Path | str],
    references: Mapping[str, str],
    paired: Path | str | None = None,
) -> Facts:
    """Return what stands in the tables of a study.

    Parameters
    ----------
    summary, models : path
        The tables of measures of agreement and of test measures.
    splits : mapping of str to path
        The test split of each data set, of which only the metadata are read.
    references : mapping of str to str
        See :class:`Facts`.
    paired : path, optional
        The table of paired comparisons.

    Raises
    ------
    TableError
        If a table cannot be read.
    """
    measures, document = read_table(summary)
    shapes, classes = {}, {}
    for dataset, path in splits.items():
        _, split = read_table(path, columns=["target"])
        shapes[dataset], classes[dataset] = tuple(split["feature_shape"]), len(split["classes"])
    return Facts(
        summary=study_steps(measures.to_pandas()),
        models=read_table(models)[0].to_pandas(),
        shapes=shapes,
        classes=classes,
        references=references,
        paired=None if paired is None else read_table(paired)[0].to_pandas(),
        level=document.get("uncertainty", {}).get("level"),
    )


def curves(summary: pd.DataFrame, reference: str, metric: str) -> list[Curve]:
    """Return a curve for each data set, model, method and scheme that has at least one defined median.

    Parameters
    ----------
    summary : DataFrame
        The table of :func:`approxgrad.evaluation.metric_tables.summarise`.
    reference : str
        ``exact`` or ``truth``.
    metric : str
        Name of the measure.
    """
    chosen = (summary["reference"] == reference) & (summary["metric"] == metric)
    rows = summary[chosen & (summary["scheme"] != EXACT) & summary["median"].notna()]
    keys = ["dataset", "model", "method", "scheme"]
    result = []
    for names, group in rows.sort_values("step", kind="stable").groupby(keys, sort=False, observed=True):
        dataset, model, method, scheme = map(str, names)
        result.append(
            Curve(
                *(dataset, model, method, scheme, metric),
                steps=tuple(group["step"].astype(float)),
                medians=tuple(_median(row) for row in group.to_dict("records")),
                samples=int((group["n"] + group["undefined"]).max()),
                undefined=int(group["undefined"].max()),
            )
        )
    order = list(summary[keys].drop_duplicates().itertuples(index=False, name=None))
    return sorted(result, key=lambda curve: order.index((*curve.names, curve.scheme)))


def exact_medians(summary: pd.DataFrame, metric: str) -> dict[Names, Median]:
    """Return how well exact attributions agree with the truth: the median of each data set, model and method."""
    chosen = (summary["reference"] == "truth") & (summary["metric"] == metric) & (summary["scheme"] == EXACT)
    rows = summary[chosen & summary["median"].notna()].to_dict("records")
    return {(str(row["dataset"]), str(row["model"]), str(row["method"])): _median(row) for row in rows}


def paired_differences(paired: pd.DataFrame | None, metric: str) -> dict[tuple[Names, str], Median]:
    """Return the median of approximated minus exact agreement with the truth within a sample, with its interval.

    Parameters
    ----------
    paired : DataFrame or None
        The table of paired comparisons, if there is one.
    metric : str
        Name of the measure.

    Returns
    -------
    dict
        By data set, model and method, and name of the gradient source without its precision, which is the lowest
        that these three have.
    """
    if paired is None:
        return {}
    lowest = paired.groupby(["dataset", "model", "method"], observed=True)["dtype"].transform("min")
    chosen = (paired["reference"] == "truth") & (paired["metric"] == metric) & (paired["differ"] == EXACT)
    rows = paired[chosen & (paired["dtype"] == lowest)].dropna(subset=["low", "high"]).to_dict("records")
    return {
        (
            (str(row["dataset"]), str(row["model"]), str(row["method"])),
            str(row["first"]).removesuffix(f"-{row['dtype']}"),
        ): Median(float(row["median_difference"]), float(row["low"]), float(row["high"]))
        for row in rows
    }


def several_schemes(found: Sequence[Curve]) -> bool:
    """Whether curves differ in their scheme, so that sentences must name it."""
    return len({curve.scheme for curve in found}) > 1


def place(dataset: str, model: str) -> str:
    """Return data set and model as a heading."""
    return f"{method_label(dataset)}, {name_label(model)}"


def who(names: Names) -> str:
    """Return "Saliency of the CNN on digits" for a data set, model and method."""
    dataset, model, method = names
    return f"{method_label(method)} of the {name_label(model)} on {name_label(dataset)}"


def grouped(found: Sequence[Curve]) -> Mapping[tuple[str, str], list[Curve]]:
    """Return curves by data set and model, in their order."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in found:
        groups.setdefault((curve.dataset, curve.model), []).append(curve)
    return groups


def _median(row: Mapping[Any, Any]) -> Median:
    return Median(*(float(row.get(name, math.nan)) for name in ("median", "median_low", "median_high")))
