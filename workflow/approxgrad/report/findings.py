"""What the tables of a study say, as objects that sentences and tables are written from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from approxgrad.evaluation.frames import read_keyed, shown_rows
from approxgrad.evaluation.metrics import METRICS
from approxgrad.evaluation.truths import TRUTHS
from approxgrad.report import wording
from approxgrad.storage.tables import read_table

COMPARED = ["dataset", "model", "method"]

JUDGED = 0.9
"""Share of the variance that can be explained which a model must explain for the truth to judge its attributions."""


@dataclass(frozen=True)
class Facts:
    """The tables that a story is told from, and what they do not say themselves."""

    summary: pd.DataFrame  # of every metric, from approxgrad.evaluation.metric_tables.summarise
    models: pd.DataFrame  # their test measures
    labels: Mapping[str, Mapping[str, str]]  # names for readers by key (dataset, model, method) and name
    families: Mapping[str, Mapping[str, Mapping[str, Any]]]  # looks of the gradient sources of each data set
    references: Mapping[str, str] = field(default_factory=dict)  # the method that another one is compared with
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of one input of each data set
    classes: Mapping[str, int] = field(default_factory=dict)  # their number, 0 for a regression
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)  # of errors, from approxgrad.evaluation.splitting
    paired: pd.DataFrame | None = None  # differences between gradient sources within a sample
    level: float | None = None  # of the intervals in the summary
    smallest: float = 0.0  # difference that matters, of the verdicts on pairs
    trainings: pd.DataFrame | None = None  # differences over several trainings of a model
    repeats: Mapping[str, str] = field(default_factory=dict)  # the model of each training after the first
    faithfulness: pd.DataFrame | None = None  # of every source, beside that of its reference
    pictures: Mapping[tuple[str, ...], Path] = field(default_factory=dict)  # files by figure and the names of its keys
    residuals: pd.DataFrame | None = None  # by how much exact attributions of path methods miss completeness

    def curves(self, metric: str, truth: str = "") -> list[Curve]:
        """Return a curve for each data set, model, method and family that has a defined median.

        They are of the agreement with the reference or, where it is named, with one of
        :data:`approxgrad.evaluation.truths.TRUTHS`.
        """
        every = self._rows(metric, truth, exact=False).sort_values("setting", kind="stable")
        rows = every[every["median"].notna()]
        # A setting at which no row is defined has no median, but it must not go without a word.
        undefined: dict[Any, int] = every.groupby([*COMPARED, "family"], observed=True)["undefined"].max().to_dict()
        found = {}
        for names, group in rows.groupby([*COMPARED, "family"], sort=False, observed=True):
            dataset, model, method, family = map(str, names)
            found[names] = Curve(
                *(dataset, model, method, family, metric),
                look=self.families[dataset][family],
                settings=tuple(None if math.isnan(own) else float(own) for own in group["setting"].astype(float)),
                gradients=tuple(group["gradient"]),
                medians=tuple(map(_median, group.to_dict("records"))),
                samples=int((group["n"] + group["undefined"]).max()),
                undefined=int(undefined[names]),
            )
        order = self.summary[[*COMPARED, "family"]].drop_duplicates().itertuples(index=False, name=None)
        return [found[names] for names in order if names in found]

    def exact_medians(self, metric: str, truth: str) -> dict[tuple[str, ...], float]:
        """Return the median agreement of exact attributions with a truth by data set, model and method."""
        rows = self._rows(metric, truth, exact=True).dropna(subset="median")
        return {
            tuple(map(str, names)): float(value)
            for *names, value in rows[[*COMPARED, "median"]].itertuples(index=False)
        }

    def verdicts(self, metric: str, truth: str) -> dict[tuple[str, ...], str]:
        """Return how approximated attributions agree with a truth beside exact ones, row by row.

        The keys are data set, model, method and name of the approximated source, the values those of
        :func:`approxgrad.evaluation.paired.compare_sources`.
        """
        if self.paired is None:
            return {}
        rows = self.paired
        rows = rows[(rows["reference"] == truth) & (rows["metric"] == metric) & (rows["differ"] == "exact")]
        keys = rows[[*COMPARED, "first"]].astype(str).itertuples(index=False, name=None)
        return dict(zip(keys, rows["verdict"].astype(str), strict=True))

    def quadrature(self, dataset: str, model: str, method: str) -> float | None:
        """Return the median by which exact attributions miss the difference of the outputs, relative to it."""
        if self.residuals is None:
            return None
        rows = self.residuals
        own = rows[(rows["dataset"] == dataset) & (rows["model"] == model) & (rows["method"] == method)]
        exact = [self.families[dataset][family]["exact"] for family in own["family"]]
        median = own["relative_residual"][np.array(exact, bool)].abs().median()
        return None if math.isnan(median) else float(median)

    def explains(self, dataset: str, model: str) -> bool:
        """Return whether the truth can judge a model's attributions: whether it has learned most of what can be."""
        own = self.models[(self.models["dataset"] == dataset) & (self.models["model"] == model)]
        values = dict(zip(own["metric"], own["value"], strict=True))
        return not values.get("r2", math.nan) < JUDGED * values.get("possible_r2", math.nan)

    def who(self, curve: Curve) -> str:
        """Return "Saliency of the CNN on digits"."""
        return f"{self.labels['method'][curve.method]} of the {self.place(curve.dataset, curve.model, ' on ')}"

    def place(self, dataset: str, model: str, between: str = ", ") -> str:
        """Return the names of a model and a data set."""
        return f"{self.labels['model'][model]}{between}{self.labels['dataset'][dataset]}"

    def _rows(self, metric: str, truth: str, *, exact: bool) -> pd.DataFrame:
        rows = self.summary[self.summary["metric"] == metric]
        rows = rows[rows["reference"] == truth if truth else ~rows["reference"].isin(TRUTHS)]
        kinds = [
            self.families[name][family]["exact"] for name, family in zip(rows["dataset"], rows["family"], strict=True)
        ]
        return rows[pd.Series(kinds, rows.index, dtype=bool) == exact]


@dataclass(frozen=True)
class Median:
    """The median over the samples, with its interval, the tail and the worst value if the table has them."""

    value: float
    low: float = math.nan
    high: float = math.nan
    tail: float = math.nan
    worst: float = math.nan


@dataclass(frozen=True)
class Curve:
    """The medians of one metric over the ascending settings of one family of gradient sources, at least one.

    A source without a setting has the setting None. `look` describes the family; `samples` and `undefined` are the most
    samples of a setting, and the most that one leaves out because the metric is undefined.
    """

    dataset: str
    model: str
    method: str
    family: str
    metric: str
    look: Mapping[str, Any]
    settings: tuple[float | None, ...]
    gradients: tuple[str, ...]
    medians: tuple[Median, ...]
    samples: int
    undefined: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Data set, model, method and family."""
        return (self.dataset, self.model, self.method, self.family)

    @property
    def distances(self) -> list[float]:
        """How far each median is from perfect agreement."""
        return [abs(median.value - METRICS[self.metric].best) for median in self.medians]

    @property
    def best(self) -> int:
        """Position of the setting that is nearest to perfect agreement; of equal ones, the first."""
        return self.distances.index(min(self.distances))

    @property
    def worst(self) -> int:
        """Position of the setting that is farthest from perfect agreement; of equal ones, the first."""
        return self.distances.index(max(self.distances))

    def at(self, position: int) -> str:
        """Return a setting as it stands in a sentence."""
        return wording.setting(self.settings[position], self.look)

    @property
    def grid(self) -> tuple[str, tuple[float | None, ...]]:
        """What was varied and where: bests of grids with other ranges are no comparison."""
        return str(self.look["setting_name"]), self.settings

    @property
    def at_edge(self) -> bool:
        """Whether a better setting may lie beyond: the best of several is the smallest or the largest, and not perfect.

        Of settings that are equally near, none is at the edge if one is not.
        """
        nearest = min(self.distances)
        inner = self.distances[1:-1]
        return len(self.settings) > 1 and nearest > 0 and nearest not in inner

    def named(self, position: int) -> str:
        """Return a setting, with a mark if it is the best one and lies at the edge."""
        return self.at(position) + (EDGE if self.at_edge and position == self.best else "")


EDGE = " (edge)"


def read_facts(
    summary: Path | str,
    models: Path | str,
    splits: Mapping[str, Path | str],
    paired: Path | str | None = None,
    residuals: Mapping[tuple[str, str], Path | str] | None = None,
    trainings: Path | str | None = None,
    faithfulness: Path | str | None = None,
    **described: Any,
) -> Facts:
    """Return what the tables of a study say; of the test splits only the metadata are read.

    The `residuals` of completeness are files by data set and model. Of models that are trained several times, summary
    and measures are those of the first training.
    """
    repeats = described.get("repeats", {})
    metrics, document = read_table(summary)
    documents = {dataset: read_table(path, columns=["target"])[1] for dataset, path in splits.items()}
    pairs, verdicts = (None, {}) if paired is None else read_table(paired)
    missed = [read_keyed(path, dataset=dataset, model=model) for (dataset, model), path in (residuals or {}).items()]
    return Facts(
        summary=shown_rows(_first(metrics.to_pandas(), repeats)),
        models=_first(read_table(models)[0].to_pandas(), repeats),
        shapes={dataset: tuple(split["feature_shape"]) for dataset, split in documents.items()},
        classes={dataset: len(split["classes"]) for dataset, split in documents.items()},
        paired=None if pairs is None else pairs.to_pandas(),
        smallest=verdicts.get("smallest_difference", 0.0),
        residuals=pd.concat(missed) if missed else None,
        trainings=None if trainings is None else read_table(trainings)[0].to_pandas(),
        faithfulness=None if faithfulness is None else _first(read_table(faithfulness)[0].to_pandas(), repeats),
        level=document.get("uncertainty", {}).get("level"),
        **described,
    )


def _first(table: pd.DataFrame, repeats: Mapping[str, str]) -> pd.DataFrame:
    return table[~table["model"].isin([*repeats])]


MEDIAN = ("median", "median_low", "median_high", "tail", "worst")


def _median(row: Mapping[Any, Any]) -> Median:
    return Median(*(float(row.get(name, math.nan)) for name in MEDIAN))
