"""How the time of the engine grows with features, inputs, path points and threads."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

from approxgrad import FiniteDifference, attribute
from bench.peers import engine, set_allocator
from bench.subjects import STEP, TARGET, Subject, some_features
from bench.timing import Work, interleaved, rates


def scaling(subject: Subject, sizes: dict[str, list[int]], repeats: int, seconds: float) -> pd.DataFrame:
    """Time the engine over a range of sizes, one axis at a time.

    The axes are ``features`` (of one image), ``inputs`` and ``path points``, whose time should be proportional to the
    size, and ``threads``; `subject` has at least as many images as the largest number of inputs.

    Returns
    -------
    DataFrame
        ``axis``, ``size``, ``median``, ``min`` and ``max`` (seconds), and ``slope``, that of the logarithm of the time
        over that of the size (median), the same in all rows of an axis.
    """
    set_allocator(own=True)
    device = subject.images.device
    all_features = some_features(subject, subject.features)
    few = some_features(subject, max(sizes["features"]) // 4)
    small = subject.images[:, :, :8, :8].contiguous()

    def by_features(size: int) -> int:
        engine(subject.model, subject.images[:1], all_features[:size])
        return 1

    def by_inputs(size: int) -> int:
        engine(subject.model, subject.images[:size], few)
        return 1

    def by_path_points(size: int) -> int:
        source = FiniteDifference(STEP)
        attribute(
            _Padded(subject.model, subject.images.shape[2:]),
            small[:1],
            target=TARGET,
            method="integrated_gradients",
            gradient=source,
            n_steps=size,
        )
        return 1

    def by_threads(size: int) -> int:
        before = torch.get_num_threads()
        torch.set_num_threads(size)
        engine(subject.model, subject.images[:1], few)
        torch.set_num_threads(before)
        return 1

    functions = {"features": by_features, "inputs": by_inputs, "path points": by_path_points, "threads": by_threads}
    parts = []
    for axis, values in sizes.items():
        ways: dict[str, Work] = {str(value): partial(functions[axis], value) for value in values}
        table = rates(interleaved(ways, repeats, seconds, device))
        times = pd.DataFrame({"median": 1 / table["median"], "min": 1 / table["max"], "max": 1 / table["min"]})
        slope = np.polyfit(np.log(values), np.log(times["median"]), 1)[0] if len(values) > 1 else np.nan
        parts.append(times.assign(axis=axis, size=values, slope=slope))
    return pd.concat(parts, ignore_index=True)[["axis", "size", "median", "min", "max", "slope"]]


class _Padded(nn.Module):
    """A model of small images, which are padded to the size that the wrapped model takes: few features, full cost."""

    def __init__(self, model: nn.Module, sides: torch.Size) -> None:
        super().__init__()
        self.model = model.eval()
        self.sides = sides

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pad and evaluate."""
        height, width = self.sides[0] - images.shape[2], self.sides[1] - images.shape[3]
        return self.model(nn.functional.pad(images, (0, width, 0, height)))
