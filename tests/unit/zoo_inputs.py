"""Zoo: inputs of every layout and kind, several of them, additional arguments, and models that write into them."""

import torch
from torch import Tensor, nn

from zoo import equal, images, normal, refused, vectors
from zoo_parts import convolution, function, mlp, small_images, wrapped


def laid_out(change, maker=small_images):
    return lambda: change(maker())


class Row(Tensor):
    """Inputs of a class of their own."""


def inference(maker):
    def make():
        with torch.inference_mode():
            return maker()

    return make


def with_gradient(x):
    x.requires_grad_()
    x.grad = torch.ones_like(x)
    return x


# Layouts and kinds

equal("inputs in channels-last order", convolution, laid_out(lambda x: x.to(memory_format=torch.channels_last)))
equal(
    "inputs with transposed axes",
    convolution,
    laid_out(lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)),
)
equal("inputs that are every second row", convolution, laid_out(lambda x: torch.cat([x, x, x])[1::2]))
equal(
    "inputs that are flipped by the model",
    lambda: wrapped(lambda net, x: net(x.flip(-1).mT), convolution()),
    small_images,
)
equal("inputs that are one row, expanded", convolution, laid_out(lambda x: x[:1].expand(3, 2, 2, 2)))
equal("inputs that are one number, expanded", mlp, laid_out(lambda x: x[:1, :1].expand(3, 5), vectors))
equal("inputs from inference_mode", convolution, inference(small_images))
equal("inputs that require a gradient", convolution, laid_out(with_gradient))
equal("inputs in the middle of a graph", convolution, laid_out(lambda x: x.requires_grad_() * 2))
equal("inputs that are a parameter", convolution, laid_out(nn.Parameter))
equal("inputs of a class of their own", mlp, laid_out(lambda x: x.as_subclass(Row), vectors))
equal(
    "inputs that share memory with numpy",
    mlp,
    laid_out(lambda x: torch.from_numpy(x.numpy()[:, ::-1].copy()[:, 1:6]), normal(3, 6)),
)
equal("a single row", convolution, normal(1, 2, 2, 2))
equal("rows that are numbers", lambda: lambda x: x.sin(), normal(5), target=None)
equal("rows of one feature", lambda: mlp(features=1), normal(4, 1))
equal("rows of five axes", lambda: lambda x: x.flatten(1).sin().cumsum(1), normal(2, 1, 2, 1, 2))
equal("rows that are the same", mlp, laid_out(lambda x: x[[0, 0, 0]], vectors))
equal("rows of zeros", mlp, lambda: torch.zeros(3, 5))
refused("sparse inputs", mlp, "inputs: .*", laid_out(Tensor.to_sparse, vectors))
refused("compressed sparse inputs", mlp, "inputs: .*", laid_out(Tensor.to_sparse_csr, vectors), entries=False)
refused("nested inputs", mlp, "inputs: .*", lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
refused("inputs on the meta device", mlp, "inputs: .*", lambda: torch.ones(3, 5, device="meta"))
refused("inputs in oneDNN's layout", mlp, "inputs: .*", laid_out(Tensor.to_mkldnn, vectors))
refused("complex inputs", mlp, "inputs: expected floating-point", lambda: torch.ones(3, 5, dtype=torch.complex64))
refused("integer inputs", mlp, "inputs: expected floating-point", lambda: torch.ones(3, 5, dtype=torch.int32))
refused(
    "quantised inputs",
    mlp,
    "inputs: expected floating-point",
    lambda: torch.quantize_per_tensor(torch.ones(3, 5), 0.1, 0, torch.qint8),
)
refused(
    "inputs of eight bits", mlp, "inputs: .*float8|model: .*float8", lambda: torch.ones(3, 5).to(torch.float8_e4m3fn)
)


# Models that write into what they are given


def writes(change):
    """A function that changes its input before it uses it."""

    def model(x):
        change(x)
        return function(x)

    return lambda: model


def mask_first(x):
    x[:, 0] = 0.5


def set_data(x):
    x.data = x.data * 2


def set_storage(x):
    x.as_strided_((len(x), x.shape[1] - 1), x.stride())


equal("multiplies its input in place", writes(lambda x: x.mul_(2)))
equal("rectifies its input in place", lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 2)).eval())
equal("overwrites a feature", writes(mask_first), target=1)
equal("exchanges its input's data", writes(set_data))
equal("makes its input smaller", writes(set_storage))
equal("asks for its input's gradient", writes(lambda x: x.requires_grad_()))
equal("transposes its input in place", lambda: lambda x: function(x.t_().t().contiguous()))
equal("returns its input", lambda: lambda x: x, images, target=(1, 2, 3))
equal("returns a part of its input", lambda: lambda x: x[:, ::2])
equal("returns its input, multiplied in place", lambda: lambda x: x.mul_(x))

# Several inputs and additional arguments

pairs = lambda: (torch.randn(3, 2), torch.randn(3, 2, 2))  # noqa: E731
equal("two inputs", lambda: lambda x, y: (x.sin() * y.sum(2)).cumsum(1), pairs)
equal(
    "two inputs of different dtypes",
    lambda: lambda x, y: (x * y.float().sum(2)).cos(),
    lambda: (torch.randn(3, 2), torch.randn(3, 2, 2).double()),
)
equal(
    "three inputs and a network",
    lambda: Three().eval(),
    lambda: (torch.randn(2, 2), torch.randn(2, 1), torch.randn(2, 2)),
)
equal("an input that the model does not use", lambda: lambda x, y: x.sin(), pairs)
equal("a tuple of one input", mlp, lambda: (torch.randn(3, 5),))
equal("an image and a vector", lambda: Both().eval(), lambda: (torch.randn(2, 2, 2, 2), torch.randn(2, 3)))
factors = torch.tensor([[0.5], [1.0], [-2.0]])
equal("an argument for each row", lambda: lambda x, factor: (x * factor).sin(), arguments=factors)
equal("integers for each row", lambda: wrapped_with_arguments(), arguments=(torch.tensor([2, 0, 1]),))
equal(
    "arguments of other kinds",
    lambda: lambda x, *rest: (x * rest[0] + rest[1].sum()).sin() if rest[2] == "sine" and rest[3] is None else x,
    arguments=(2.0, torch.ones(7), "sine", None),
)
equal(
    "masks for each row",
    lambda: lambda x, mask: (x * mask).cumsum(1).sin(),
    arguments=(torch.tensor([[True, False, True, True, True]] * 3),),
)
equal(
    "a list of arguments in a tuple",
    lambda: lambda x, weights: (x * weights[0]).sin(),
    arguments=([torch.tensor(2.0), 3],),
)


class Three(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x, y, z):
        return self.net(torch.cat([x, y, z], dim=1))


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(11, 2)

    def forward(self, image, vector):
        return self.last(torch.cat([self.conv(image).tanh().flatten(1), vector], dim=1))


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3, 5)

    def forward(self, x, index):
        return function(x * self.table(index))


def wrapped_with_arguments():
    return Embedded().eval()
