"""Zoo: modules with a forward or call of their own, unfinished ones, and those that nobody can copy."""

import pathlib
import threading
import types
import weakref

import torch
from torch import Tensor, nn

from zoo import equal, refused
from zoo_parts import cnn, convolution, mlp, small_images, wrapped

# Modules with a forward or call of their own


class Called(nn.Module):
    """Overrides __call__, in which more happens than in forward."""

    def __init__(self):
        super().__init__()
        self.net = convolution()

    def __call__(self, x):
        return 3 * super().__call__(x - 0.5)

    def forward(self, x):
        return self.net(x)


class CalledConvolution(nn.Conv2d):
    def __call__(self, x):
        return 3 * super().__call__(x)


class Shadowing(nn.Module):
    """Its attributes hide methods of nn.Module that torch itself does not need to call."""

    def __init__(self):
        super().__init__()
        self.net, self.modules, self.parameters = convolution(), [], {}

    def forward(self, x):
        return self.net(x)


class Dynamic(nn.Module):
    """Takes every unknown attribute from the network inside."""

    def __init__(self):
        super().__init__()
        self.net = convolution()

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)

    def forward(self, x):
        return self.net(x) * 2


def with_forward(net, layer, make):
    """Set a forward on an instance."""
    net[layer].forward = make(net[layer].forward, net[layer])
    return net


equal(
    "a forward set on the instance",
    lambda: with_forward(convolution(), 0, lambda old, _: lambda x: 2 * old(x)),
    small_images,
)
equal(
    "a method set on the instance",
    lambda: with_forward(
        convolution(), 1, lambda _, layer: types.MethodType(lambda self, x: x[:, :, :1, :1] * 2, layer)
    ),
    small_images,
)
equal("a __call__ of one's own", lambda: Called().eval(), small_images)
equal(
    "a convolution with a __call__ of its own",
    lambda: cnn(CalledConvolution(2, 3, 3, padding=1), flat=12),
    small_images,
)
equal("attributes that hide methods of modules", lambda: Shadowing().eval(), small_images)
equal("unknown attributes handed on to a layer", lambda: Dynamic().eval(), small_images)
equal(
    "a list that is indexed",
    lambda: wrapped(lambda net, x: net[0](x) + net[1](x), nn.ModuleList([convolution(), convolution()])),
    small_images,
)
equal(
    "the same layer many times",
    lambda: wrapped(lambda net, x: net(net(net(x))).flatten(1), nn.Conv2d(2, 2, 3, padding=1)),
    small_images,
)
equal("a layer that the list of layers names twice", lambda: repeated(), small_images)
equal("data-parallel on a CPU", lambda: nn.DataParallel(convolution()), small_images)
equal("averaged weights", lambda: torch.optim.swa_utils.AveragedModel(convolution()), small_images)
equal("a class that was changed afterwards", lambda: with_class(convolution()), small_images)
equal("layers that are not registered", lambda: hidden(), small_images)


def repeated():
    layer = nn.Conv2d(2, 2, 3, padding=1)
    return cnn(layer, nn.Tanh(), layer, flat=8)


def with_class(net):
    """Give a layer a class that computes something else, like patches of libraries."""
    net[0].__class__ = type("Conv2d", (nn.Conv2d,), {"forward": lambda _, x: x.repeat(1, 2, 1, 1)[:, :3]})
    return net


def hidden():
    nets = [convolution(), convolution()]
    return wrapped(lambda _, x: sum(net(x) for net in nets), nn.Identity())


# Lazy and unfinished modules

LAZY = "model: .*(lazy|uninitiali[sz]ed)"
refused(
    "lazy layers that were never called",
    lambda: nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.Flatten(), nn.LazyLinear(2)).eval(),
    LAZY,
    small_images,
)
refused("a lazy batch norm", lambda: mlp(nn.LazyBatchNorm1d()), LAZY)
equal(
    "lazy layers that were called",
    lambda: called(nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.Flatten(), nn.LazyLinear(2)).eval()),
    small_images,
)
refused("a model on the meta device", lambda: mlp().to("meta"), "model: .*")
refused("a model of another dtype than its inputs", lambda: mlp().double(), "model: fails for 1 torch.float32")
refused("a model that has no forward", lambda: nn.ModuleList([nn.Linear(5, 2)]).eval(), "model: .*")
refused("not a callable", lambda: "network.pt", "callable", entries=False)


def called(net):
    net(torch.ones(1, 2, 2, 2))
    return net


# Modules that nobody can copy, or whose copies are something else


class Uncopyable(nn.Module):
    """A network beside something that fails when it is copied."""

    def __init__(self, beside):
        super().__init__()
        self.net, self.beside = convolution(), beside

    def forward(self, x):
        return self.net(x)


class Failing:
    def __deepcopy__(self, memo):
        raise MemoryError("no copies of this")


def own_file():
    return pathlib.Path(__file__).open()


class Fresh(nn.Module):
    """Copies of it have other weights."""

    def __init__(self):
        super().__init__()
        self.net = convolution()

    def __deepcopy__(self, memo):
        return Fresh().eval()

    def forward(self, x):
        return self.net(x)


class Itself(Fresh):
    def __deepcopy__(self, memo):
        return self


class Referring(nn.Module):
    """Reaches its layers by weak references, and its parent in a circle."""

    def __init__(self):
        super().__init__()
        self.net = convolution()
        self.reference = weakref.ref(self.net)
        self.circle = [self]

    def forward(self, x):
        return self.circle[0].reference()(x)


class Outside(nn.Module):
    """Computes with weights of a module elsewhere, which a copy shares."""

    store = nn.ParameterDict()

    def forward(self, x):
        return x.flatten(1) @ self.store["weight"]


class Subclass(Tensor):
    """Parameters of a class of their own."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        found = super().__torch_function__(function, types, arguments, options or {})
        return found * 2 if function is nn.functional.linear else found


def with_subclass():
    net = nn.Sequential(nn.Linear(5, 3), nn.Tanh()).eval()
    net[0].weight = nn.Parameter(net[0].weight.detach().as_subclass(Subclass))
    return net


def outside():
    Outside.store["weight"] = nn.Parameter(torch.randn(8, 2))
    return Outside().eval()


equal("a lock beside the network", lambda: Uncopyable(threading.Lock()).eval(), small_images)
equal("an open file beside the network", lambda: Uncopyable(own_file()).eval(), small_images)
equal("a generator beside the network", lambda: Uncopyable(i for i in range(3)).eval(), small_images)
equal("something whose copying fails", lambda: Uncopyable(Failing()).eval(), small_images)
equal(
    "a tensor of a graph beside the network, which torch refuses to copy",
    lambda: Uncopyable([torch.ones(2, requires_grad=True) * 2]).eval(),
    small_images,
)
equal("copies that have other weights", lambda: Fresh().eval(), small_images)
equal("copies that are the model itself", lambda: Itself().eval(), small_images)
equal("weak references and circles", lambda: Referring().eval(), small_images)
equal("weights of a class", outside, small_images)
equal("parameters of a tensor class of their own", with_subclass)
