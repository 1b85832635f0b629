"""Zoo: weights that are given per call, tied, parametrised or pruned."""

import copy

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from zoo import equal
from zoo_parts import cnn, mlp, small_images

# Weights given per call, tied, parametrised, pruned


class Ensemble(nn.Module):
    """Evaluates one network with the weights of several."""

    def __init__(self, members):
        super().__init__()
        self.base, self.members = members[0], [dict(copy.deepcopy(member).named_parameters()) for member in members]

    def forward(self, x):
        return sum(functional_call(self.base, weights, (x,)) for weights in self.members)


class SwappedData(nn.Module):
    """Gives a convolution other numbers for each of its calls."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x):
        own, total = self.conv.weight.data, 0
        for scale in (0.3, -0.2):
            self.conv.weight.data = scale * own.tril()
            total = total + self.conv(x).flatten(1)
        self.conv.weight.data = own
        return total


class Hyper(nn.Module):
    """A network whose weights another one makes for each row."""

    def __init__(self):
        super().__init__()
        self.make = nn.Linear(8, 18)

    def forward(self, x):
        weights = self.make(x.flatten(1)).reshape(-1, 1, 3, 3)
        return F.conv2d(x.reshape(1, -1, 2, 2), weights, groups=2 * len(x), padding=1).reshape(len(x), -1)


class Tied(nn.Module):
    """An autoencoder whose decoder has the encoder's weights."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.two.weight = self.one.weight
        self.last = self.one

    def forward(self, x):
        return F.conv_transpose2d(self.last(self.two(self.one(x)).tanh()), self.one.weight).flatten(1)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight.tanh()


def changed(change, net=lambda: cnn(nn.Conv2d(2, 3, 3, padding=1), flat=12)):
    """Return what builds a network whose first layer is changed."""

    def build():
        made = net()
        change(made[0])
        return made.eval()

    return build


equal(
    "an ensemble by functional_call",
    lambda: Ensemble([cnn(nn.Conv2d(2, 3, 3, padding=1), flat=12) for _ in range(3)]).eval(),
    small_images,
    changes_itself=True,
    shared=False,
)
equal("an ensemble by swapped data", lambda: SwappedData().eval(), small_images, changes_itself=True, shared=False)
equal("a network that makes the weights of another", lambda: Hyper().eval(), small_images)
equal("tied weights", lambda: Tied().eval(), small_images)
equal("tied embeddings", lambda: tied_linear())
equal("weight norm", changed(parametrizations.weight_norm), small_images)
equal("weight norm by hooks", changed(nn.utils.weight_norm), small_images)
equal("spectral norm", changed(parametrizations.spectral_norm), small_images)
equal("spectral norm by hooks", changed(nn.utils.spectral_norm), small_images)
equal("orthogonal weights", changed(parametrizations.orthogonal, mlp))
equal(
    "weights by a parametrisation of one's own",
    changed(lambda layer: parametrize.register_parametrization(layer, "weight", Doubled())),
    small_images,
)
equal("a parametrisation added after a first call", lambda: late_parametrisation(), small_images)
equal("pruned", changed(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)), small_images)
equal("pruned by channels", changed(lambda layer: prune.ln_structured(layer, "weight", 0.4, n=2, dim=0)), small_images)
equal(
    "low-rank adapters that are added by hooks",
    changed(
        lambda layer: layer.register_forward_hook(
            lambda layer, given, found: found + 0.1 * given[0].mean(1, keepdim=True)
        )
    ),
    small_images,
)


def tied_linear():
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)).eval()
    net[2].weight = net[0].weight
    return net


def late_parametrisation():
    net = cnn(nn.Conv2d(2, 3, 3, padding=1), flat=12)
    net(torch.ones(1, 2, 2, 2))
    parametrize.register_parametrization(net[0], "weight", Doubled())
    return net.eval()
