"""Attributions on a budget: ``python -m bench.budget FOLDER`` compares estimators on trained networks.

The folder has the weights ``models/cifar10_cnn.safetensors`` and ``models/cifar10_resnet18.safetensors`` and the images
``data/cifar10-jpeg.zip``.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from approxgrad import (
    GEEX,
    GEFA,
    SPSA,
    DirectionalDifference,
    ExactGradient,
    FiniteDifference,
    GaussianSmoothing,
    KernelShap,
    Lime,
    Spectrum,
    attribute,
)
from approxgrad.gradients.directional.prediction import correlation
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from bench.trained import ARCHITECTURES, drawn_images, network

STEP = 0.1
PILOTS = 5
PATH_POINTS = 50  # of exact Integrated Gradients
COVERAGE = (200, 500, 1000, 2000)

Maps = dict[str, Callable[[Tensor, Tensor], Tensor]]
MAPS: Maps = {"saliency": lambda g, x: g.abs(), "input_x_gradient": lambda g, x: g * x}
"""From gradients and inputs."""

PATH = "integrated_gradients"
Source = Callable[..., tuple[Tensor, ...]]

# Published estimates of gradients, and of attributions along a path, as their classes have them by default.
OF_GRADIENTS: dict[str, Callable[[int], Source]] = {"SPSA": SPSA, "Gaussian smoothing": GaussianSmoothing}
OF_PATHS: dict[str, Callable[[int], Source]] = {"GEEX": GEEX, "GEFA": GEFA, "KernelShap": KernelShap, "Lime": Lime}


@dataclass(frozen=True)
class Case:
    """A network, images that it is asked about, and spectra that order directions: of gradients, and along paths."""

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    spectra: dict[str, tuple[Spectrum, Spectrum]]

    def first(self, count: int) -> Case:
        """Return the case with its first images only."""
        return dataclasses.replace(self, images=self.images[:count], labels=self.labels[:count])

    def exact(self) -> dict[str, Tensor]:
        """Return exact maps of all methods, and the gradient."""
        gradient = ExactGradient()(self.model, self.images, self.labels)[0]
        path = attribute(self.model, self.images, target=self.labels, method=PATH, n_steps=PATH_POINTS)
        return {"gradient": gradient, PATH: path, **{name: of(gradient, self.images) for name, of in MAPS.items()}}


def estimators(case: Case, path: bool) -> dict[str, Callable[[int], Source]]:
    """Return what makes a source for a budget, by name; for a path, the spectrum is that along paths."""

    def directions(basis: str, **options: Any) -> Callable[[int], Source]:
        return lambda budget: DirectionalDifference(STEP, budget=budget, basis=basis, **options)  # type: ignore[arg-type]

    orders = {f"cosine, {name}": directions("cosine", order=own[path]) for name, own in case.spectra.items()}
    return {
        "cosine, luma": directions("cosine"),
        **orders,
        "haar": directions("haar"),
        "random orthogonal": directions("orthogonal"),
        "single features": directions("pixels"),
        "independent random": directions("random"),
        **OF_GRADIENTS,
    }


def cases(folder: Path, names: list[str], count: int, ordered: bool) -> Iterator[Case]:
    """Yield the networks with some images, and spectra if directions are to be ordered; their pilots are others."""
    images, labels = drawn_images(folder, count + PILOTS)
    pilots, classes = images[count:], labels[count:]

    def spectra(model: nn.Module, gradient: Source) -> tuple[Spectrum, Spectrum]:
        # Paths begin at zero: their middle is half the image.
        first, second = (Spectrum.measured(model, share * pilots, classes, gradient=gradient) for share in (1, 0.5))
        return first, second

    for name in names:
        model = network(folder, name)
        if not ordered:
            yield Case(name, model, images[:count], labels[:count], {})
            continue
        measured = spectra(model, DirectionalDifference(STEP, "forward", basis="cosine"))
        print(f"{name}: {PILOTS} pilots cost {measured[0].evaluations:,} evaluations", flush=True)
        (other,) = set(ARCHITECTURES) - {name}
        exact = spectra(network(folder, other), ExactGradient())
        own = {"pilots": measured, "another model's spectrum": exact}
        yield Case(name, model, images[:count], labels[:count], own)


def agreement(
    case: Case, exact: dict[str, Tensor], name: str, budget: int, source: Source | None, along: Source | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the agreement of each map of a source with the exact one; the second source is for paths."""
    start = time.process_time()
    maps = {}
    if source is not None:
        gradient = source(case.model, case.images, case.labels)[0]
        maps = {method: of(gradient, case.images) for method, of in MAPS.items()}
    spent = time.process_time() - start
    if along is not None:
        maps[PATH] = attribute(case.model, case.images, target=case.labels, method=PATH, gradient=along)
    for method, found in maps.items():
        r = correlation(found.double().flatten(1), exact[method].double().flatten(1))
        low, middle, high = r.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
        entry = {"model": case.name, "estimator": name, "budget": budget, "method": method, "images": len(r)}
        yield entry | {"r": middle, "first_quartile": low, "third_quartile": high, "seconds": spent}


def table(
    case: Case, exact: dict[str, Tensor], budgets: list[int], wanted: list[str] | None
) -> Iterator[dict[str, Any]]:
    """Yield a row for each estimator, or those that are wanted, budget and method, and for all directions."""
    for budget in budgets:
        for name, made in estimators(case, path=False).items():
            if wanted is not None and name not in wanted:
                continue
            along = estimators(case, path=True)[name]
            yield from agreement(case, exact, name, budget, made(budget), along(budget))
        for name, made in OF_PATHS.items():
            if wanted is None or name in wanted:
                yield from agreement(case, exact, name, budget, None, made(budget))
    if wanted is not None:
        return
    whole = case.images[0].numel() + 1
    yield from agreement(case, exact, "finite differences", whole, FiniteDifference(STEP))
    yield from agreement(case, exact, "cosine, luma", whole, DirectionalDifference(STEP, budget=whole, basis="cosine"))


def coverage(case: Case) -> Iterator[dict[str, Any]]:
    """Yield for each budget how often predicted intervals hold the real cosine and agreement, and how wide they are."""
    real = ExactGradient()(case.model, case.images, case.labels)[0].double().flatten(1)
    for budget in COVERAGE:
        source = DirectionalDifference(STEP, budget=budget, basis="cosine")
        found = source(case.model, case.images, case.labels)[0].double().flatten(1)
        predicted = source.predicted
        assert predicted is not None
        cosine = (found * real).sum(dim=1) / found.norm(dim=1) / real.norm(dim=1)
        maps = {}
        for method, of in MAPS.items():
            images = case.images.double().flatten(1)
            middle, low, high = predicted.of_map(lambda g, of=of, images=images: of(g, images))  # type: ignore[misc]
            own = correlation(of(found, images), of(real, images))
            maps |= {f"{method}_r": own.median(), f"{method}_predicted": middle.median()}
            maps[f"{method}_covered"] = ((low <= own) & (own <= high)).double().mean()
        values = {
            "cosine": cosine.median(),
            "predicted": predicted.cosine.median(),
            "covered": ((predicted.lower <= cosine) & (cosine <= predicted.upper)).double().mean(),
            "half_width": ((predicted.upper - predicted.lower) / 2).median(),
            **maps,
        }
        entry = {
            "model": case.name,
            "budget": budget,
            "images": len(cosine),
            "probes": predicted.probes,
        }
        yield entry | {name: float(value) for name, value in values.items()}


def overhead(case: Case, repeats: int = 5) -> str:
    """Return how much processor time directions take beside the evaluations, which are timed in the same run."""

    class Timed(ModelWrapper):
        seconds = 0.0

        def __call__(self, images: Tensor) -> Any:
            start = time.process_time()
            found = self.__wrapped__(images)
            self.seconds += time.process_time() - start
            return found

    source = DirectionalDifference(STEP, budget=1000, basis="cosine")
    ready = source.prepare(case.model, (case.images[:2],), (), case.labels[:2, None])
    shares = []
    for _ in range(repeats):
        timed = Timed(ready)
        start = time.process_time()
        source(timed, case.images[:2], case.labels[:2])
        shares.append((time.process_time() - start - timed.seconds) / timed.seconds)
    own = pd.Series(shares)
    return f"{own.median():.1%} ({own.min():.1%} to {own.max():.1%})"


def main() -> None:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the weights and the images")
    parser.add_argument("--models", nargs="+", choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument("--budgets", type=int, nargs="+", default=[200, 500, 1000])
    parser.add_argument("--images", type=int, default=20, help="of the table (default: 20)")
    parser.add_argument("--predicted-images", type=int, default=40, help="of the predictions (default: 40)")
    parser.add_argument("--estimators", nargs="+", help="of the table (default: all, and finite differences)")
    parser.add_argument("--only", choices=["table", "predictions"], help="leave the other part out")
    parser.add_argument("--output", type=Path, help="folder for budget.csv and budget-predicted.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "budget:", UserWarning)
    rows: dict[str, list[dict[str, Any]]] = {"budget": [], "budget-predicted": []}

    def note(name: str, row: dict[str, Any]) -> None:
        rows[name].append(row)
        print("  ".join(f"{key} {v:.3f}" if isinstance(v, float) else str(v) for key, v in row.items()), flush=True)
        if arguments.output:
            written = pd.DataFrame(rows[name])
            written.to_csv(arguments.output / f"{name}.csv", index=False, float_format="%.4f")

    count, ordered = max(arguments.images, arguments.predicted_images), arguments.only != "predictions"
    for case in cases(arguments.folder, arguments.models, count, ordered):
        if arguments.only != "predictions":
            print(f"{case.name}: directions take {overhead(case)} of the evaluations' time", flush=True)
            few = case.first(arguments.images)
            for row in table(few, few.exact(), arguments.budgets, arguments.estimators):
                note("budget", row)
        if arguments.only != "table":
            for row in coverage(case.first(arguments.predicted_images)):
                note("budget-predicted", row)


if __name__ == "__main__":
    main()
