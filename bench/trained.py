"""Trained networks and test images of CIFAR-10, from a folder that has them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from approxgrad.models.kind import MODELS

ARCHITECTURES = {"cnn": {}, "resnet18": {"stem": "imagenet"}}
MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def network(folder: Path, name: str) -> nn.Module:
    """Return a network with the weights ``models/cifar10_NAME.safetensors``."""
    model = MODELS[name](**ARCHITECTURES[name]).build((3, 32, 32), 10).eval()
    model.load_state_dict(load_file(folder / "models" / f"cifar10_{name}.safetensors"))
    return model.requires_grad_(False)


def drawn_images(folder: Path, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return some test images of ``data/cifar10-jpeg.zip``, normalised, and their classes."""
    with zipfile.ZipFile(folder / "data" / "cifar10-jpeg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("test/") and name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        drawn = np.random.default_rng(seed).choice(names, count, replace=False).tolist()
        pixels = np.stack([np.array(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in drawn])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (MEAN, STD))
    return ((images - mean) / std).float(), torch.tensor([classes.index(name.split("/")[1]) for name in drawn])
