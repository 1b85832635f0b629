"""What the tables of a study say, as objects that sentences and tables are written from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from approxgrad.evaluation.frames import shown_rows
from approxgrad.evaluation.metrics import METRICS
from approxgrad.report import wording
from approxgrad.storage.tables import read_table

TRUTH = "truth"

COMPARED = ["dataset", "model", "method"]


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

    def curves(self, metric: str, *, truth: bool = False) -> list[Curve]:
        """Return a curve for each data set, model, method and family that has a defined median."""
        rows = self._rows(metric, truth=truth, exact=False).sort_values("setting", kind="stable")
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
                undefined=int(group["undefined"].max()),
            )
        order = self.summary[[*COMPARED, "family"]].drop_duplicates().itertuples(index=False, name=None)
        return [found[names] for names in order if names in found]

    def exact_medians(self, metric: str) -> dict[tuple[str, ...], float]:
        """Return the median agreement of exact attributions with the truth by data set, model and method."""
        rows = self._rows(metric, truth=True, exact=True)
        return {
            tuple(map(str, names)): float(value)
            for *names, value in rows[[*COMPARED, "median"]].itertuples(index=False)
        }

    def differences(self, metric: str) -> dict[tuple[str, ...], Median]:
        """Return the median of approximated minus exact agreement with the truth within a sample.

        The keys are data set, model, method and name of the approximated source. Without an interval there is none.
        """
        if self.paired is None:
            return {}
        paired = self.paired
        rows = paired[(paired["reference"] == TRUTH) & (paired["metric"] == metric) & (paired["differ"] == "exact")]
        known = rows.dropna(subset=["low", "high"])
        keys = known[[*COMPARED, "first"]].astype(str).itertuples(index=False, name=None)
        values = known[["median_difference", "low", "high"]].astype(float).itertuples(index=False, name=None)
        return {key: Median(*own) for key, own in zip(keys, values, strict=True)}

    def who(self, curve: Curve) -> str:
        """Return "Saliency of the CNN on digits"."""
        return f"{self.labels['method'][curve.method]} of the {self.place(curve.dataset, curve.model, ' on ')}"

    def place(self, dataset: str, model: str, between: str = ", ") -> str:
        """Return the names of a model and a data set."""
        return f"{self.labels['model'][model]}{between}{self.labels['dataset'][dataset]}"

    def _rows(self, metric: str, *, truth: bool, exact: bool) -> pd.DataFrame:
        rows = self.summary[self.summary["median"].notna() & (self.summary["metric"] == metric)]
        rows = rows[(rows["reference"] == TRUTH) == truth]
        kinds = [
            self.families[name][family]["exact"] for name, family in zip(rows["dataset"], rows["family"], strict=True)
        ]
        return rows[pd.Series(kinds, rows.index, dtype=bool) == exact]


@dataclass(frozen=True)
class Median:
    """The median over the samples, with its interval if the table has one."""

    value: float
    low: float = math.nan
    high: float = math.nan


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

    def closer_than(self, other: Curve) -> list[bool]:
        """Return for each setting that both have whether this curve is nearer to perfect agreement there."""
        theirs = dict(zip(other.settings, other.distances, strict=True))
        own = zip(self.settings, self.distances, strict=True)
        return [distance < theirs[setting] for setting, distance in own if setting in theirs]


def read_facts(
    summary: Path | str,
    models: Path | str,
    splits: Mapping[str, Path | str],
    paired: Path | str | None = None,
    **described: Any,
) -> Facts:
    """Return what the tables of a study say; of the test splits only the metadata are read."""
    metrics, document = read_table(summary)
    documents = {dataset: read_table(path, columns=["target"])[1] for dataset, path in splits.items()}
    return Facts(
        summary=shown_rows(metrics.to_pandas()),
        models=read_table(models)[0].to_pandas(),
        shapes={dataset: tuple(split["feature_shape"]) for dataset, split in documents.items()},
        classes={dataset: len(split["classes"]) for dataset, split in documents.items()},
        paired=None if paired is None else read_table(paired)[0].to_pandas(),
        level=document.get("uncertainty", {}).get("level"),
        **described,
    )


def _median(row: Mapping[Any, Any]) -> Median:
    return Median(*(float(row.get(name, math.nan)) for name in ("median", "median_low", "median_high")))
