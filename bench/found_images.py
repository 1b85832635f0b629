"""Attributions of CIFAR-10 images by approximated gradients: how far they are from exact ones, and how faithful."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from approxgrad import ExactGradient, FiniteDifference, attribute
from approxgrad.datasets.drawing import Limit
from approxgrad.datasets.faults import DatasetError
from approxgrad.datasets.image_folder import ImageFolder
from approxgrad.datasets.normalisation import Normalisation
from approxgrad.evaluation.faithfulness import areas, curves
from approxgrad.evaluation.metrics import compare
from approxgrad.methods.method import METHODS
from approxgrad.methods.path_ends import explained_outputs
from approxgrad.models.model_files import build_model
from approxgrad.models.weights import fit_weights, read_weights
from approxgrad.seeds import derive_seed

Array = NDArray[np.float64]
Scheme = Literal["forward", "central"]
Plan = tuple[tuple[str, str, tuple[float, ...]], ...]

SHAPE, OUTPUTS, MOST = (3, 32, 32), 10, 200
NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STEPS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 1.0, 3.0)
PATH_STEPS = (1e-4, 0.01, 0.5, 1.0)
"""Steps of the thesis, for all its networks."""

NETWORKS: dict[str, Plan] = {
    # Where rounding is far below the error of the step, dense evaluations find the same maps for twenty times the cost.
    "cnn": (("forward", "dense", STEPS[:5]), ("forward", "propagated", STEPS), ("central", "propagated", STEPS)),
    "resnet18": (
        ("forward", "dense", STEPS),
        ("forward", "propagated", STEPS[:3:2]),
        ("central", "dense", (0.01, 0.5)),
    ),
}
"""Schemes, evaluations and steps of the gradients of each network."""

AREAS = ("deletion", "insertion")
METRICS = ("pearson", "cosine", "relative_error", "scale_free_error", "best_factor", "top_overlap")
COLUMNS = ["part", "image", "method", "scheme", "evaluation", "step", *METRICS, *AREAS]
CURVE_STEPS, ROWS = 32, 256
IN_A_ROUND = {"gradients": {"cnn": 2, "resnet18": 1}, "paths": {"cnn": 1, "resnet18": 1}}


class Images:
    """Test images in a random order."""

    def __init__(self, path: Path, seed: int) -> None:
        limit = Limit(train=100, test=MOST)
        kind = ImageFolder(path=str(path), size=SHAPE[1:], normalisation=NORMALISATION, limit=limit)
        split = kind.prepare(seed, [path])["test"]
        if len(split.classes) > OUTPUTS:
            raise DatasetError(f"{path}: has {len(split.classes)} classes, expected at most {OUTPUTS}")
        order = np.random.default_rng(derive_seed(seed, "found")).permutation(len(split.target))
        self.split = split.rows(order)
        self.digest = hashlib.sha256(self.split.features.tobytes() + self.split.target.tobytes()).hexdigest()

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, str]:
        """Return an image as the models take it, its class and the name of its file."""
        own = self.split.rows(np.array([number]))
        assert own.origin is not None
        return torch.from_numpy(own.model_inputs()), torch.from_numpy(own.target), str(own.origin[0])


def network(name: str, path: Path) -> nn.Module:
    """Return a network with weights of a file."""
    model = build_model(SHAPE, OUTPUTS, architecture=name).eval()
    fit_weights(model, read_weights(path)[0], str(path))
    return model.requires_grad_(False)


class OfFeatures(FiniteDifference):
    """Finite differences along some features only, divided by the step as given; 0 for all others."""

    def __init__(self, step: float, features: Tensor) -> None:
        super().__init__(step, nominal=True)
        self.features = features

    def __call__(
        self, forward_fn: Any, inputs: Any, target_ind: Any = None, additional_forward_args: Any = None
    ) -> Any:
        """Return the gradient."""
        (points,) = inputs if isinstance(inputs, tuple) else (inputs,)
        every = torch.arange(points[0].numel())
        found = self.partial_derivatives(forward_fn, (points,), every, target_ind, additional_forward_args)
        return (found.to(points.dtype).reshape(points.shape),)

    def partial_derivatives(self, forward_fn: Any, inputs: Any, features: Tensor, *rest: Any, **named: Any) -> Tensor:
        """Return the derivatives along the features."""
        own = torch.isin(features, self.features)
        found = torch.zeros(len(inputs[0]), len(features), dtype=torch.float64)
        found[:, own] = super().partial_derivatives(forward_fn, inputs, features[own], *rest, **named)
        return found


@dataclass(frozen=True)
class Case:
    """An image in front of a network."""

    model: nn.Module
    image: Tensor
    target: Tensor

    def gradients(self, plan: Plan) -> Iterator[tuple[dict[str, Any], Array, Array]]:
        """Yield what each map of a gradient is, the map and the exact one, both of shape (1, d)."""
        exact = ExactGradient()(self.model, self.image, self.target)[0]
        sources = [({"scheme": "exact"}, exact)]
        for scheme, evaluation, steps in plan:
            for step in steps:
                own = FiniteDifference(step, scheme, evaluation=evaluation)  # type: ignore[arg-type]
                names = {"scheme": scheme, "evaluation": evaluation, "step": step}
                sources.append((names, own(self.model, self.image, self.target)[0]))
        for method in ("saliency", "input_x_gradient"):
            of = METHODS[method]().from_gradient
            truth = flat(of(self.image, exact))
            for names, gradient in sources:
                yield {"method": method, **names}, flat(of(self.image, gradient)), truth

    def paths(self, count: int, seed: int) -> Iterator[tuple[dict[str, Any], Array, Array]]:
        """Yield both variants of Integrated Gradients for some features: names, map and exact one."""
        chosen = np.sort(np.random.default_rng(seed).choice(self.image.numel(), count, replace=False))
        features = torch.from_numpy(chosen)
        exact = flat(attribute(self.model, self.image, target=self.target, method="integrated_gradients"))[:, chosen]
        for method in ("integrated_gradients", "integrated_gradients_published"):
            for step in (None, *PATH_STEPS):
                source: Any = "exact" if step is None else OfFeatures(step, features)
                scheme = (
                    {"scheme": "exact"} if step is None else {"scheme": "forward", "evaluation": "dense", "step": step}
                )
                found = attribute(self.model, self.image, target=self.target, method=method, gradient=source)
                yield {"method": method, **scheme}, flat(found)[:, chosen], exact

    def faithfulness(self, found: Array) -> dict[str, float]:
        """Return the areas under the deletion and the insertion curve of a map; features go to the mean colour, 0."""

        def outputs(rows: Tensor) -> Array:
            return explained_outputs(self.model, rows.reshape(-1, *SHAPE), self.target.expand(len(rows)), ROWS)

        both = curves(outputs, self.image.flatten(1), found, torch.zeros(found.shape[1]), CURVE_STEPS)
        return {name: float(areas(own, found.shape[1])[0]) for name, own in zip(AREAS, both, strict=True)}

    def random_order(self, seed: int) -> dict[str, float]:
        """Return the areas for features in a random order."""
        return self.faithfulness(np.random.default_rng(seed).random((1, self.image.numel())))


def flat(maps: Tensor) -> Array:
    """Return maps as float64 of shape (N, d)."""
    return np.asarray(maps.detach().double().flatten(1).numpy())


def rows(case: Case, name: str, part: str, features: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each map of an image."""
    if part == "paths":
        for names, found, exact in case.paths(features, seed):
            yield names | agreement(found, exact)
        return
    for names, found, exact in case.gradients(NETWORKS[name]):
        yield names | agreement(found, exact) | case.faithfulness(found)
    yield {"method": "random order", "scheme": "none"} | case.random_order(seed)


def agreement(found: Array, exact: Array) -> dict[str, float]:
    """Return how near a map is to the exact one."""
    measured = compare(found, exact)
    return {name: float(measured[name][0]) for name in METRICS}


def measure(images: Images, name: str, model: nn.Module, turns: range, features: int, path: Path) -> None:
    """Append the rows of some rounds of images to a table, without those that it has."""
    known = pd.read_csv(path)[["part", "image"]].drop_duplicates() if path.exists() else pd.DataFrame()
    done = set(known.itertuples(index=False, name=None))
    for turn in turns:
        for part, counts in IN_A_ROUND.items():
            for number in range(turn * counts[name], (turn + 1) * counts[name]):
                image, target, origin = images[number]
                if (part, origin) in done:
                    continue
                start = time.process_time()
                found = [*rows(Case(model, image, target), name, part, features, derive_seed(number, "found", part))]
                table = pd.DataFrame(found).assign(part=part, image=origin).reindex(columns=COLUMNS)
                table.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.4g")
                print(f"{name}, {part}, {origin}: {time.process_time() - start:.1f} s of processor time", flush=True)
