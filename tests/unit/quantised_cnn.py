"""The trained CIFAR-10 CNN of the shared folder as a static int8 network, whose output is a staircase."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

MEAN, STD = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
CALIBRATION = 100


class Network(nn.Module):
    """The architecture of the weights."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(*sizes, 3, padding=1) for sizes in ((3, 32), (32, 32), (32, 64))
        )
        self.fc1, self.fc2 = nn.Linear(4096, 256), nn.Linear(256, 10)

    def forward(self, x):
        """Return the logits."""
        maps = torch.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2)
        maps = torch.max_pool2d(torch.relu(self.conv3(maps)), 2)
        return self.fc2(torch.relu(self.fc1(maps.flatten(1))))


def images(archive, names):
    """Return some images of an archive, normalised: (N, 3, 32, 32)."""
    from PIL import Image

    pixels = [np.array(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    return (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def quantised(shared, folder, count=10):
    """Return the network, the int8 one as a function of tensors, and some test images with their labels."""
    for name in ("onnx", "onnxscript", "PIL"):
        pytest.importorskip(name)
    quantization = pytest.importorskip("onnxruntime.quantization")
    from onnxruntime import InferenceSession
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from safetensors.torch import load_file

    network = Network().eval()
    network.load_state_dict(load_file(shared / "models" / "cifar10_cnn.safetensors"))
    with zipfile.ZipFile(shared / "data" / "cifar10-jpeg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        generator = np.random.default_rng(0)
        drawn = {
            part: generator.choice([name for name in names if name.startswith(part)], number, replace=False)
            for part, number in (("train", CALIBRATION), ("test", count))
        }
        calibration, inputs = images(archive, drawn["train"]), images(archive, drawn["test"])
    labels = torch.tensor([classes.index(name.split("/")[1]) for name in drawn["test"]])
    files = [str(folder / f"{name}.onnx") for name in ("float", "prepared", "int8")]
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(network, (inputs[:2],), files[0], dynamo=True, dynamic_shapes=batch, verbose=False)
    quant_pre_process(*files[:2])
    (given,) = InferenceSession(files[1]).get_inputs()

    class Reader(quantization.CalibrationDataReader):
        batches = iter([{given.name: part.numpy()} for part in calibration.split(50)])

        def get_next(self):
            return next(self.batches, None)

    int8 = quantization.QuantType.QInt8
    quantization.quantize_static(*files[1:], Reader(), activation_type=int8, weight_type=int8)
    session = InferenceSession(files[2])

    def model(x):
        return torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])

    return network, model, inputs, labels


def exact_saliency(network, inputs, labels):
    """Return the absolute exact gradient."""
    points = inputs.clone().requires_grad_()
    network(points).gather(1, labels[:, None]).sum().backward()
    return points.grad.abs()
