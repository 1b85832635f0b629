"""Files from which the jobs of small studies attribute: a saved network and parts of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model
from approxgrad.storage.splits import Split, write_split

IMAGE = (1, 6, 6)


def saved_network(folder: Path, **description: Any) -> dict[str, Any]:
    """Save an untrained network, always with the same weights, and return what jobs are given of it."""
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_model(path, build_model(**description), description)
    return {"model": {"kind": description["architecture"]}, "weights": path}


def saved_perceptron(folder: Path, features: int, **options: Any) -> dict[str, Any]:
    """Save a perceptron of one hidden layer, as :func:`saved_network`."""
    own = {"outputs": 1, "hidden": [6], "dropout": 0.4} | options
    return saved_network(folder, architecture="mlp", input_shape=(features,), **own)


def classified_images(folder: Path) -> dict[str, Any]:
    """Save a network for small images of three classes, with test and training rows."""
    own, random = saved_network(folder, architecture="cnn", input_shape=IMAGE, outputs=3), np.random.default_rng(1)
    for key, rows in (("test", 20), ("training", 30)):
        own[key] = folder / f"{key}.parquet"
        features = random.normal(size=(rows, 36)).astype(np.float32)
        split = Split(features, random.integers(0, 3, rows), None, IMAGE, ("a", "b", "c"), (0.1,), (0.7,))
        write_split(own[key], split, {})
    return own
