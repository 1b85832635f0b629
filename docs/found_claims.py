"""The claims of the thesis, judged by the tables in found/: each verdict follows from an interval."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from approxgrad.evaluation.uncertainty import Bootstrap, intervals

DOCS = Path(__file__).parent
FOLDER = DOCS / "found"
NETWORKS = {"cnn": "CNN", "resnet18": "ResNet-18"}
BOOTSTRAP = Bootstrap(0)
SAME = 0.99
"""Correlation from which two maps count as the same."""

HOLDS, FAILS, OPEN, DEPENDS = "holds", "does not hold", "open", "depends on the network"

INTEGRATED, PUBLISHED = "integrated_gradients", "integrated_gradients_published"


@dataclass(frozen=True)
class Estimate:
    """A median over images or a mean over rows, with the ends of its interval, which may be NaN."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        numbers = (self.value, self.low, self.high)
        small = self.value != 0 and not any(abs(own) >= 0.01 for own in numbers)
        text = [f"{own:.0e}" if small else f"{own:.3f}" for own in numbers]
        return (
            f"{text[0]} ({text[1]} to {text[2]})" if np.isfinite(self.low) else f"{text[0]} (too few for an interval)"
        )

    def above(self, bound: float) -> str:
        """Say whether it is above a bound: it holds, does not hold, or is open."""
        return HOLDS if self.low >= bound else FAILS if self.high < bound else OPEN


def median(values: pd.Series) -> Estimate:
    """Return the median of some values with its bootstrap interval."""
    row = intervals([values.to_numpy(float)], BOOTSTRAP).iloc[0]
    return Estimate(row["median"], row["median_low"], row["median_high"])


def together(verdicts: list[str]) -> str:
    """Return one verdict from those on several networks."""
    return verdicts[0] if len(set(verdicts)) == 1 else OPEN if OPEN in verdicts else DEPENDS


class Tables:
    """What was measured."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.about = json.loads((folder / "about.json").read_text())
        self.images = {name: pd.read_csv(folder / f"{name}.csv") for name in NETWORKS}
        self.truth = pd.read_csv(folder / "truth.csv")

    def of(self, network: str, method: str, step: float, metric: str = "pearson", **which: str) -> pd.Series:
        """Return a metric of a forward difference by image; evaluated densely where it was, else propagated."""
        own = self.images[network]
        own = own[(own["method"] == method) & np.isclose(own["step"], step, rtol=1e-9, atol=0)]
        for name, value in ({"scheme": "forward"} | which).items():
            own = own[own[name] == value]
        if "evaluation" not in which and (own["evaluation"] == "dense").any():
            own = own[own["evaluation"] == "dense"]
        return own.set_index("image")[metric]

    def exact(self, network: str, method: str, metric: str) -> pd.Series:
        """Return a metric of the exact map by image."""
        own = self.images[network]
        return own[(own["method"] == method) & (own["scheme"] == "exact")].set_index("image")[metric]

    def count(self, network: str, part: str) -> int:
        """Return the number of images of a part."""
        own = self.images[network]
        return int(own.loc[own["part"] == part, "image"].nunique())

    def dense(self, network: str) -> set[float]:
        """Return the steps at which forward differences of gradients were evaluated densely."""
        own = self.images[network]
        own = own[own["part"] == "gradients"]
        return set(own.loc[(own["scheme"] == "forward") & (own["evaluation"] == "dense"), "step"])

    def faithful(self, network: str, method: str, evaluation: str) -> pd.DataFrame:
        """Return deletion plus insertion of forward differences: 0 is a random order, 1 the exact map.

        The columns are `step`, the `share`, and how far its interval reaches `below` and `above`. The unit is the
        median lead of the exact map over a random order; the change from the exact map is taken image by image.
        """
        own = self.images[network]
        rows = own[(own["method"] == method) & (own["scheme"] == "forward") & (own["evaluation"] == evaluation)]
        exact = self.exact(network, method, "deletion") + self.exact(network, method, "insertion")
        lead = (exact - self.random[network]).median()
        found = []
        for step, each in rows.groupby("step"):
            images = each.set_index("image")
            change = median((images["deletion"] + images["insertion"] - exact).dropna() / lead)
            found.append((step, 1 + change.value, change.value - change.low, change.high - change.value))
        return pd.DataFrame(found, columns=["step", "share", "below", "above"])

    @cached_property
    def random(self) -> dict[str, pd.Series]:
        """Deletion plus insertion of a random order, by network and image."""
        areas = ["deletion", "insertion"]
        rows = {name: own[own["method"] == "random order"].set_index("image") for name, own in self.images.items()}
        return {name: own[areas].sum(axis=1) for name, own in rows.items()}


@dataclass(frozen=True)
class Claim:
    """A claim, the verdict and the numbers behind it."""

    claim: str
    verdict: str
    numbers: str


def by_network(found: dict[str, Estimate]) -> str:
    """Return estimates of the networks as text."""
    return "; ".join(f"{NETWORKS[name]} {own}" for name, own in found.items())


def step_claims(tables: Tables) -> list[Claim]:
    """Return the claims about the step, of Saliency and Gradient x Input."""
    small = {name: median(tables.of(name, "saliency", 1e-4)) for name in NETWORKS}
    best = "; ".join(f"{label} {_best(tables, name):g}" for name, label in NETWORKS.items())
    fall = {name: _difference(tables, name, "saliency", 1e-5, 1e-4) for name in NETWORKS}
    propagated = {
        name: median(tables.of(name, "saliency", 1e-6, "relative_error", evaluation="propagated")) for name in NETWORKS
    }
    whole = all(own.high < 1e-3 for own in propagated.values())
    large = {name: median(tables.of(name, "saliency", 1.0)) for name in NETWORKS}
    lost = together([_flipped(_difference(tables, name, "saliency", 1.0, 0.01)) for name in NETWORKS])
    milder = all(own.low > 0.45 for own in large.values())
    product = {name: _between(tables, name, 1.0, "pearson") for name in NETWORKS}
    errors = {name: _between(tables, name, 1.0, "scale_free_error") for name in NETWORKS}
    ratio = {
        name: median(
            tables.of(name, "saliency", 0.5, "relative_error", scheme="central")
            / tables.of(name, "saliency", 0.5, "relative_error")
        )
        for name in NETWORKS
    }
    better, farther = together([own.above(0) for own in product.values()]), all(own.low > 0 for own in errors.values())
    fallen = together([_flipped(own) for own in fall.values()])
    return [
        Claim(
            "At h = 0.0001 the map is the exact one (median correlation .999).",
            together([own.above(SAME) for own in small.values()]),
            f"{by_network(small)}. The best of the steps tried: {best}.",
        ),
        Claim(
            "Smaller steps are worse (.956 at h = 0.00001).",
            f"{fallen}, by rounding only" if whole and fallen == HOLDS else fallen,
            f"Correlation at 0.00001 minus that at 0.0001: {by_network(fall)}. Where [nothing cancels](propagation.md) "
            f"the relative error at 0.000001 is {by_network(propagated)}.",
        ),
        Claim(
            "Large steps lose the map (.608 at h = 0.5, .450 at h = 1).",
            f"{lost}, less than published" if milder and lost == HOLDS else lost,
            f"Saliency at h = 1: {by_network(large)}.",
        ),
        Claim(
            "Gradient x Input suffers less than Saliency (.508 and .450 at h = 1).",
            f"{better}, but only by its correlation" if better == HOLDS and farther else better,
            f"Difference of the correlations at h = 1: {by_network(product)}; of the scale-free errors, where less is "
            f"better: {by_network(errors)}.",
        ),
        Claim(
            "Forward differences are used throughout.",
            "central ones are better" if all(own.high < 1 for own in ratio.values()) else OPEN,
            f"Error of central differences over that of forward ones at h = 0.5: {by_network(ratio)}.",
        ),
    ]


def _best(tables: Tables, network: str) -> float:
    """Return the step with the smallest median relative error of forward differences as they are evaluated."""
    steps = sorted(tables.images[network]["step"].dropna().unique())
    errors = {step: tables.of(network, "saliency", step, "relative_error").median() for step in steps}
    return min(errors, key=lambda step: errors[step])


def _difference(tables: Tables, network: str, method: str, first: float, second: float) -> Estimate:
    """Return the median difference of the correlations of two steps, image by image."""
    return median((tables.of(network, method, first) - tables.of(network, method, second)).dropna())


def _between(tables: Tables, network: str, step: float, metric: str) -> Estimate:
    """Return the median difference of a metric between Gradient x Input and Saliency."""
    both = (tables.of(network, method, step, metric) for method in ("input_x_gradient", "saliency"))
    return median(next(both) - next(both))


def _flipped(fall: Estimate) -> str:
    """Say whether an estimate is below zero."""
    return Estimate(-fall.value, -fall.high, -fall.low).above(0)


def path_claims(tables: Tables) -> list[Claim]:
    """Return the claims about Integrated Gradients."""
    published = {name: median(tables.of(name, PUBLISHED, 0.01)) for name in NETWORKS}
    correct = {name: median(tables.of(name, INTEGRATED, 0.01)) for name in NETWORKS}
    limit = {name: median(tables.exact(name, PUBLISHED, "relative_error")) for name in NETWORKS}
    factor = {name: median(tables.exact(name, PUBLISHED, "best_factor")) for name in NETWORKS}
    pattern = {name: median(tables.exact(name, PUBLISHED, "scale_free_error")) for name in NETWORKS}
    robust = {
        name: median((tables.of(name, PUBLISHED, 1.0) - tables.of(name, "input_x_gradient", 1.0)).dropna())
        for name in NETWORKS
    }
    own = {
        name: median((tables.of(name, INTEGRATED, 1.0) - tables.of(name, "input_x_gradient", 1.0)).dropna())
        for name in NETWORKS
    }
    beats = {name: median(tables.of(name, PUBLISHED, 1.0) - tables.of(name, INTEGRATED, 1.0)) for name in NETWORKS}
    halved = all(1.5 < found.value < 2.5 for found in factor.values())
    other = all(found.low > 0.1 for found in pattern.values())
    never = all(estimate.high < SAME for estimate in published.values())
    reached = all(estimate.low >= SAME for estimate in correct.values())
    return [
        Claim(
            "Approximated Integrated Gradients stay away from the exact ones, however small the step (.938, .939).",
            "of the formula, not of the method" if never and reached else OPEN,
            f"At h = 0.01 the published formula: {by_network(published)}; differences at every point of the path: "
            f"{by_network(correct)}.",
        ),
        Claim(
            "(Not asked.) How far is the published formula from Integrated Gradients with exact gradients?",
            f"{'half the size' if halved else 'another size'}, {'another' if other else 'nearly the same'} pattern",
            f"Relative error {by_network(limit)}. Its best factor is {by_network(factor)}; with it the error is "
            f"{by_network(pattern)}.",
        ),
        Claim(
            "Integrated Gradients stand large steps best (.699 at h = 1, Gradient x Input .508).",
            together([estimate.above(0) for estimate in robust.values()]),
            f"Correlation at h = 1 minus that of Gradient x Input, published formula: {by_network(robust)}; correct "
            f"one: {by_network(own)}. Published minus correct: {by_network(beats)}.",
        ),
    ]


def truth_claims(tables: Tables) -> list[Claim]:
    """Return the claims about the agreement with true effects."""
    return [
        _gain(
            tables,
            "saliency",
            3.0,
            "Saliency agrees better with the true effects at large steps (-.083 exact, .067 at h = 3).",
        ),
        _gain(tables, "input_x_gradient", 0.5, "So does Gradient x Input (.470 exact, .482 at h = 0.5)."),
        _gain(tables, INTEGRATED, 3.0, "(Not asked, correct formula.) So do Integrated Gradients at h = 3."),
        _ceiling(tables),
    ]


def _rows(tables: Tables, method: str, step: float | None, truth: str = "effects") -> tuple[pd.Series, pd.DataFrame]:
    """Return the row of the published network, and those of the others."""
    own = tables.truth[(tables.truth["method"] == method) & (tables.truth["truth"] == truth)]
    own = own[own["step"].isna() if step is None else np.isclose(own["step"], step)]
    published = own["network"] == "published"
    return own[published].iloc[0], own[~published]


def _gain(tables: Tables, method: str, step: float, claim: str) -> Claim:
    row, others = _rows(tables, method, step)
    gain = Estimate(row["gain"], row["gain_low"], row["gain_high"])
    agreeing = int((others["gain_low"] > 0).sum())
    against = int((others["gain_high"] < 0).sum())
    verdict = gain.above(0)
    if verdict == HOLDS and agreeing < len(others):
        verdict = "holds for that network, not for all"
    text = f"Gain of the mean correlation over exact gradients: {gain}, n = {row['n']:.0f} rows."
    if len(others):
        text += (
            f" In {len(others)} trainings it is {others['gain'].min():.3f} to {others['gain'].max():.3f}, clearly "
            f"above zero in {agreeing}, below in {against}."
        )
    return Claim(claim, verdict, text)


def _ceiling(tables: Tables) -> Claim:
    """Return what exact Saliency and Integrated Gradients reach, and what the network explains."""
    saliency, _ = _rows(tables, "saliency", None)
    paths, _ = _rows(tables, INTEGRATED, None, "matched")
    return Claim(
        "Exact gradients hardly agree with the true effects (Saliency -.083).",
        "of the comparison and the network",
        f"Saliency has no signs, the effects have; the network explains {saliency['explained']:.0%} of the variance. "
        "Integrated Gradients, compared with what each effect gains from the baseline, reach "
        f"{Estimate(paths['pearson'], paths['low'], paths['high'])}.",
    )


def faithful_claims(tables: Tables) -> list[Claim]:
    """Return what deletion and insertion say of maps that are less like the exact ones."""
    found = []
    for step, words in (
        (1e-5, "by rounding (float32, h = 0.00001)"),
        (0.5, "by the step (h = 0.5)"),
        (3.0, "by the step (h = 3)"),
    ):
        parts, verdicts = [], []
        for name, label in NETWORKS.items():
            for method, title in (("saliency", "Saliency"), ("input_x_gradient", "Gradient x Input")):
                gain = _faithful(tables, name, method, step)
                errors = tables.of(name, method, step, "relative_error").median()
                parts.append(f"{label}, {title}: error {errors:.0%}, change {gain}")
                verdicts.append(_flipped(gain) if np.isfinite(gain.low) else OPEN)
        count = verdicts.count(HOLDS)
        found.append(
            Claim(
                f"A map that is wrong {words} explains worse.", f"in {count} of {len(verdicts)}", ". ".join(parts) + "."
            )
        )
    return found


def _faithful(tables: Tables, network: str, method: str, step: float) -> Estimate:
    """Return by how much a map is more faithful than the exact one."""
    evaluation = "dense" if step in tables.dense(network) else "propagated"
    own = tables.faithful(network, method, evaluation).set_index("step").loc[step]
    return Estimate(own["share"] - 1, own["share"] - 1 - own["below"], own["share"] - 1 + own["above"])
