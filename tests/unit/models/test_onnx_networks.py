"""Trained networks exported to ONNX: their derivatives are those of the torch modules."""

import copy
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from approxgrad import FiniteDifference, OnnxModel
from approxgrad.models.kind import MODELS

SHARED = Path(__file__).resolve().parents[4] / "shared"
ARCHIVE = SHARED / "data" / "cifar10-jpeg.zip"
NETWORKS = {"cnn": {}, "resnet18": {"stem": "imagenet"}}
RUNTIMES = ["onnxruntime", "openvino"]
STEP = 0.01
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE} is not there")


def images(count):
    """The first test images of as many classes, normalised as the networks were trained."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("test/") and name.endswith(".jpg"))
        names = names[:: len(names) // count][:count]
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    scaled = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return (scaled - MEAN.reshape(3, 1, 1)) / STD.reshape(3, 1, 1)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Each module, and its file with the weights beside it."""
    load_file = pytest.importorskip("safetensors.torch").load_file
    folder, found = tmp_path_factory.mktemp("onnx"), {}
    for name, options in NETWORKS.items():
        module = MODELS[name](**options).build((3, 32, 32), 10).eval()
        module.load_state_dict(load_file(SHARED / "models" / f"cifar10_{name}.safetensors"))
        path = folder / f"{name}.onnx"
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            module, (torch.zeros(2, 3, 32, 32),), path, dynamo=True, opset_version=20, dynamic_shapes=shapes
        )
        found[name] = module, path
    return found


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_are_those_of_the_torch_module(networks, name, runtime):
    module, path = networks[name]
    model = OnnxModel(path, runtime=runtime)
    assert [own.name for own in model.files] == [f"{name}.onnx", f"{name}.onnx.data"]
    points = images(2)
    features = torch.arange(0, 3072, 6 if name == "cnn" else 24)
    target = module(points).argmax(dim=1)
    source = FiniteDifference(STEP)
    # In float64, so that the rounding errors are those of the file alone.
    exact = copy.deepcopy(module).double()
    expected = source.partial_derivatives(exact, (points.double(),), features, target)
    found = source.partial_derivatives(model, (points,), features, target)
    errors = torch.linalg.vector_norm(found - expected, dim=1) / torch.linalg.vector_norm(expected, dim=1)
    assert errors.max() <= 0.005, errors
