"""Zoo: outputs of every form, and those that are refused."""

import numpy as np
import torch
from torch import nn

from zoo import equal, normal, positive, refused
from zoo_parts import mlp, small_images, wrapped

# Outputs

equal("outputs of shape (N,)", lambda: lambda x: x.sin().sum(1), target=None)
equal("outputs of shape (N, 1)", lambda: mlp(outputs=1), target=None)
equal("outputs of shape (N, 1), with a target", lambda: mlp(outputs=1))
equal("a target for each row", mlp, target=[2, 0, 1])
equal("outputs of three axes", lambda: nn.Sequential(nn.Linear(4, 2), nn.Tanh()).eval(), normal(3, 3, 4), target=(2, 1))
equal(
    "outputs of three axes, a target for each row",
    lambda: nn.Sequential(nn.Linear(4, 2), nn.Tanh()).eval(),
    normal(3, 3, 4),
    target=[(2, 1), (0, 0), (1, 1)],
)
equal(
    "outputs that are an image in channels-last order",
    lambda: nn.Conv2d(2, 3, 3, padding=1).eval().to(memory_format=torch.channels_last),
    small_images,
    target=(2, 1, 0),
)
equal("outputs that are expanded", lambda: lambda x: x.sin().sum(1, keepdim=True).expand(-1, 4), target=3)
equal("outputs that are transposed", lambda: lambda x: (torch.ones(2, 5) @ x.T.sin()).T, target=1)
equal("outputs as numpy arrays", lambda: lambda x: np.sin(x.numpy()).cumsum(1))
equal(
    "outputs as numpy arrays in the order of Fortran", lambda: lambda x: np.asfortranarray(np.sin(x.numpy()).cumsum(1))
)
equal("outputs as lists", lambda: lambda x: x.sin().cumsum(1).tolist(), roundings=64)
equal("outputs as a list of tensors with one number", lambda: lambda x: list(x.sin().sum(1)), target=None)
equal(
    "outputs of a higher precision than the inputs",
    lambda: lambda x: x.double().sin() + 2.0**20,
    computes=torch.float64,
)
equal("outputs of float16", lambda: lambda x: x.sin().half(), roundings=4, step=0.5)
equal("probabilities", lambda: nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1)).eval(), positive(3, 5))
NO_TENSOR = "model: (?=.*{})(?=.*tensor)"
NOT_REAL = "model: (?=.*{})(?=.*(real|floating|score|logit|probabilit))"
refused("outputs in a dictionary", lambda: wrapped(lambda net, x: {"logits": net(x)}, mlp()), NO_TENSOR.format("dict"))
refused("outputs in a tuple", lambda: wrapped(lambda net, x: (net(x), x), mlp()), NO_TENSOR.format("tuple"))
refused("outputs in a tuple of one", lambda: wrapped(lambda net, x: (net(x),), mlp()), NO_TENSOR.format("tuple"))
refused(
    "outputs in a list of heads", lambda: wrapped(lambda net, x: [net(x), net(2 * x)], mlp()), NO_TENSOR.format("list")
)
refused("outputs in a named tuple", lambda: lambda x: torch.max(x, dim=1), NO_TENSOR.format("(max|tuple)"))
refused("outputs in a dataclass", lambda: lambda x: Output(x), NO_TENSOR.format("Output"))
refused("no outputs", lambda: lambda x: None, NO_TENSOR.format("None"))
refused("outputs as text", lambda: lambda x: ["cat"] * len(x), "model: .*")
refused("class labels", lambda: wrapped(lambda net, x: net(x).argmax(1), mlp()), NOT_REAL.format("int64"), target=None)
refused("class labels of numpy", lambda: lambda x: x.numpy().argmax(1), NOT_REAL.format("int64"), target=None)
refused("class labels in a list", lambda: lambda x: x.argmax(1).tolist(), NOT_REAL.format("int64"), target=None)
refused("integer scores", lambda: lambda x: (x * 100).int(), NOT_REAL.format("int32"))
refused("decisions", lambda: lambda x: x > 0, NOT_REAL.format("bool"))
refused("complex outputs", lambda: lambda x: torch.fft.fft(x), NOT_REAL.format("complex"), target=1)
refused("outputs that are not numbers", lambda: lambda x: x.log(), r"model: output is nan for input \d")
refused(
    "outputs that are not numbers beside the input",
    lambda: lambda x: (1.3 - x).sqrt(),
    r"model: output is nan for input 1 with feature 2 shifted",
    lambda: torch.tensor([[0.5, 0.7, 0.2], [1.0, -0.3, 1.25]]),
    target=2,
)
refused("infinite outputs", lambda: lambda x: x / (x * 0), "model: output is -?(inf|nan) for input 0")
refused("one output for all rows", lambda: lambda x: x.sin().mean(), "model .*shape|model: .*shape", target=None)
refused(
    "a loss of shape (1,)", lambda: lambda x: x.sin().mean().reshape(1), "model .*shape|model: .*shape", target=None
)
refused("outputs with the batch on their last axis", lambda: lambda x: x.sin().T, "model: .*shape")
refused("a target that is out of range", mlp, "target: .*out of range", target=3)
refused("no target where one is needed", mlp, "target: .*needed", target=None)
refused("sparse outputs", lambda: lambda x: x.relu().to_sparse(), "model: .*(sparse|dense)")


class Output:
    def __init__(self, logits):
        self.logits = logits
