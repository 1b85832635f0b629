"""Trained models of the default study, and the error of their attributions at any step, chosen steps included."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from approxgrad.evaluation.metrics import relative_error
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import AUTO, Setting, Source, exact_source
from approxgrad.seeds import derive_seed
from approxgrad.storage.attributions import Attributions
from approxgrad.study.cells import attribute_cell
from approxgrad.study.choices import CHOICE_ROWS
from approxgrad.study.chosen_steps import choose_model_step

ROOT = Path(__file__).resolve().parents[1]

GRID = tuple(float(f"{step:.3g}") for step in np.geomspace(1e-9, 10**0.5, 39))
"""The steps among which the best one is sought: four per decade."""

PER_DECADE = 4

FEW = 4
"""Samples with which the decade of the best step is found."""

METHODS: dict[str, dict[str, Any]] = {
    "saliency": {"attribution": "saliency"},
    "input_x_gradient": {"attribution": "input_x_gradient"},
    "integrated_gradients": {"attribution": "integrated_gradients", "baseline": "zero"},
    "integrated_gradients_mean": {"attribution": "integrated_gradients", "baseline": "mean"},
}

MODELS = (("synthetic_linear", "mlp"), ("synthetic_nonlinear", "mlp"), ("digits", "cnn"), ("digits", "resnet18"))


def train_models(folder: Path, seed: int, models: list[tuple[str, str]]) -> None:
    """Train models of the default study with a seed, in a folder; what is there already stays."""
    targets = [f"results/models/dataset={dataset}/model={model}/weights.safetensors" for dataset, model in models]
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("snakemake")), *targets]
    command += ["--snakefile", str(ROOT / "workflow" / "Snakefile")]
    command += ["--cores", str(len(os.sched_getaffinity(0))), "--directory", str(folder)]
    command += [
        "--configfile",
        str(ROOT / "config" / "config.yaml"),
        str(ROOT / "bench" / "networks.yaml"),
        "--config",
        f"seed={seed}",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"models of seed {seed}: training failed\n{done.stderr}")


@dataclass
class Case:
    """One model, method, scheme and precision of the default study, with the test rows that are attributed.

    The models lie in `folder` (:func:`train_models`); `seed` also draws the samples, as the study's does.
    """

    folder: Path
    seed: int
    dataset: str
    model: str
    method: str
    scheme: str
    dtype: str
    samples: int
    path_points: int
    _exact: dict[int, Attributions] = field(default_factory=dict, repr=False)

    @property
    def _own_method(self) -> dict[str, Any]:
        method = METHODS[self.method]
        return method | {"n_steps": self.path_points} if "baseline" in method else method

    @property
    def _job(self) -> dict[str, Any]:
        """What the jobs of the study are told that attribute, and those that choose a step."""
        data = self.folder / "data" / self.dataset
        return {
            "model": {"kind": self.model},
            "weights": self.folder / f"results/models/dataset={self.dataset}/model={self.model}/weights.safetensors",
            "test": data / "test.parquet",
            "training": data / "train.parquet",
            "sample_seed": derive_seed(self.seed, "samples", self.dataset),
            "memory_mib": None,
            "device": torch.device("cpu"),
        }

    def source(self, step: Setting) -> Source:
        """Return the differences with a step."""
        return Source(Difference(self.scheme, (step,), (self.dtype,)), step, self.dtype)

    def attributed(self, source: Source, samples: int) -> Attributions:
        """Return what an attribution job of the study would write."""
        return attribute_cell(**self._job, method=self._own_method, gradient=source.entry, samples=samples)[0]

    def error(self, result: Attributions) -> float:
        """Return the median over the samples of the relative error against the exact attribution of the precision."""
        samples = len(result.sample)
        if samples not in self._exact:
            self._exact[samples] = self.attributed(exact_source(self.dtype), samples)
        errors = relative_error(result.attribution, self._exact[samples].attribution)
        return float(np.nanmedian(errors))

    def errors(self, steps: list[float], samples: int) -> dict[float, float]:
        """Return the error at each of some steps: infinite where a step is lost in all features, and so refused."""
        found = {}
        for step in steps:
            try:
                found[step] = self.error(self.attributed(self.source(step), samples))
            except ValueError as refused:
                if not str(refused).startswith("step:"):
                    raise
                found[step] = np.inf
        return found

    def best(self) -> tuple[float, float]:
        """Return the step of :data:`GRID` with the smallest error, and that error.

        One step per decade is tried with few samples, then every step of two decades around the best one with all of
        them, and further ones as long as the smallest error is at an end.
        """
        few = self.errors(list(GRID[::PER_DECADE]), min(FEW, self.samples))
        middle = GRID.index(min(few, key=few.__getitem__))
        low, high = max(0, middle - PER_DECADE + 1), min(len(GRID), middle + PER_DECADE)
        found = self.errors(list(GRID[low:high]), self.samples)
        while True:
            step = min(found, key=found.__getitem__)
            place = GRID.index(step)
            missing = [near for near in GRID[max(0, place - 1) : place + 2] if near not in found]
            if not missing:
                return step, found[step]
            found |= self.errors(missing, self.samples)

    def chosen(self) -> tuple[float, float, int]:
        """Return the step that is chosen, its error, and the evaluations that choosing it took."""
        choice, _ = choose_model_step(
            **self._job,
            path_options={key: value for key, value in self._own_method.items() if key != "attribution"},
            gradient=self.source(AUTO).entry,
            samples=min(CHOICE_ROWS, self.samples),
            seed=derive_seed(self.seed, "step", self.dataset, self.model, self.method, self.scheme, self.dtype),
        )
        error = self.error(self.attributed(self.source(choice.step), self.samples))
        return choice.step, error, choice.evaluations
