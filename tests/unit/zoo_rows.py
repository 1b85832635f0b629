"""Zoo: models whose outputs depend on chance, on the other rows of a batch, on its size, or on earlier calls."""

import contextlib
import random
import time

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from zoo import equal, images, normal, positive, refused, sequences, vectors
from zoo_parts import CHANGES, cnn, function, mlp, wrapped

# Chance

CHANCE = "model: outputs differ.*two evaluations of the same row"


def noisy(draw):
    """A network whose input has something random added to it."""
    return lambda: wrapped(lambda net, x: net(x + draw(x)), mlp())


class Augmented(nn.Module):
    """Test-time augmentation that draws anew for each call."""

    def __init__(self, transform):
        super().__init__()
        self.transform, self.net = transform, cnn(nn.Conv2d(2, 3, 3, padding=1), flat=48)

    def forward(self, x):
        return self.net(self.transform(x))


class DropPath(nn.Module):
    """Stochastic depth of one's own, whose layers torch does not know."""

    def __init__(self, keep=0.5):
        super().__init__()
        self.net, self.keep = mlp(outputs=5), keep

    def forward(self, x):
        for _ in range(4):
            x = x + self.net(x) * torch.bernoulli(torch.full((len(x), 1), self.keep))
        return x


class Bayesian(nn.Module):
    """Draws its weights from a distribution."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(5, 2)

    def forward(self, x):
        return self.mean(x) + x @ (0.1 * torch.randn(5, 2))


PROJECTION = torch.linspace(-1, 1, 20).reshape(5, 4)
generator = torch.Generator()
numpy_generator = np.random.default_rng(0)
refused("random noise of torch", noisy(torch.randn_like), CHANCE)
refused("random noise of a generator", noisy(lambda x: torch.randn(x.shape, generator=generator)), CHANCE)
refused("random noise of numpy", noisy(lambda x: torch.from_numpy(np.random.normal(size=x.shape)).float()), CHANCE)  # noqa: NPY002
refused(
    "random noise of a numpy generator",
    noisy(lambda x: torch.from_numpy(numpy_generator.normal(size=x.shape)).float()),
    CHANCE,
)
refused("random noise of Python", noisy(lambda x: random.random()), CHANCE)
refused("random noise, small", noisy(lambda x: 1e-4 * torch.randn_like(x)), CHANCE)
refused("functional dropout that is always on", noisy(lambda x: F.dropout(x, 0.5)), CHANCE)
refused(
    "Monte-Carlo dropout, averaged",
    lambda: wrapped(lambda net, x: torch.stack([net(F.dropout(x, 0.5)) for _ in range(8)]).mean(0), mlp()),
    CHANCE,
)
refused("stochastic depth of one's own", lambda: DropPath().eval(), CHANCE)
refused("random weights", lambda: Bayesian().eval(), CHANCE)
refused("Gumbel softmax", lambda: wrapped(lambda net, x: F.gumbel_softmax(net(x)), mlp()), CHANCE)
refused("a random projection for each call", lambda: lambda x: x @ torch.rand(5, 3), CHANCE)
refused("the mean of a sampled latent variable", noisy(lambda x: torch.distributions.Normal(x, 1).rsample()), CHANCE)
refused(
    "random flips and crops",
    lambda: Augmented(torchvision.transforms.RandomResizedCrop(4, antialias=True)).eval(),
    CHANCE,
    images,
)
refused("random order of the features", lambda: wrapped(lambda net, x: net(x[:, torch.randperm(5)]), mlp()), CHANCE)
equal(
    "noise of a fixed seed, the same for all rows",
    noisy(lambda x: torch.randn(5, generator=torch.Generator().manual_seed(1))),
)
equal("random features drawn once", lambda: lambda x: (x @ PROJECTION).cos())
equal("a network in training mode without layers that care", lambda: mlp().train())
refused(
    "noise of a fixed seed, another for each row",
    noisy(lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(1))),
    "beside other.*batch_size=1",
    alone=True,
)

# Earlier calls and time


class Counting:
    """Returns something else each time."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return function(x) + 0.01 * self.calls


class Drifting(nn.Module):
    """Follows its inputs with a moving mean, also in eval mode."""

    def __init__(self):
        super().__init__()
        self.net = mlp()
        self.register_buffer("mean", torch.zeros(5))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return self.net(x - self.mean)


class Learning(nn.Module):
    """Adapts its weights to its inputs."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        with torch.no_grad():
            self.net[0].bias += 0.01 * x.mean()
        return self.net(x)


refused("counts its calls", Counting, CHANCE)
refused("depends on the time", lambda: lambda x: function(x) + 1e-3 * (time.perf_counter_ns() // 100 % 10_000), CHANCE)
refused("a mean that moves with every call", lambda: Drifting().eval(), CHANCE, changes_itself=True)
refused("weights that adapt to the inputs", lambda: Learning().eval(), CHANCE, changes_itself=True)
refused(
    "spectral norm in training mode",
    lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3))).train(),
    CHANGES,
    changes_itself=True,
)

# Other rows

COMPANY = "model: outputs differ.*(beside other|batch of another size).*batch_size=1"


def mixed(mix, maker=vectors, name=None, **settings):
    """Put a model into the zoo in which rows see each other."""
    refused(
        name, lambda: lambda x: (mix(x) + x / 2).sin(), settings.pop("pattern", COMPANY), maker, alone=True, **settings
    )


mixed(lambda x: x - x.mean(0), name="rows without their mean")
mixed(lambda x: x.softmax(0), name="softmax over the batch")
mixed(lambda x: F.normalize(x, dim=0), name="normalised over the batch")
mixed(lambda x: x.cumsum(0), name="summed over earlier rows")
mixed(lambda x: x / x.abs().max(), name="scaled by the largest number of the batch")
mixed(lambda x: x.sort(0).values, name="each feature sorted over the batch")
mixed(lambda x: x[x.sum(1).argsort()], name="rows sorted by their sum")
mixed(lambda x: x + x.roll(1, 0), name="the row before")
mixed(lambda x: x + x[:1], name="the first row")
mixed(lambda x: x + x.flip(0), name="the batch turned round")
mixed(lambda x: (x @ x.T).softmax(1) @ x, name="attention over the batch")
mixed(lambda x: x + torch.arange(len(x))[:, None], name="the number of the row")
mixed(lambda x: x * len(x), name="the size of the batch")
mixed(lambda x: x if len(x) < 4 else 1.001 * x, name="another way for large batches")
mixed(lambda x: x if len(x) == 1 else 1.001 * x, name="another way for single rows")
mixed(lambda x: x * (1 + 0.001 * (len(x) % 2)), name="another way for batches of even size")
mixed(lambda x: x if (x[:, 0] > -0.5).all() else x.cos(), name="an early exit for the whole batch")
mixed(
    lambda x: torch.round(x / x.abs().amax() * 127) / 127 * x.abs().amax(),
    name="quantised by the scale of the batch",
    step=0.5,
)
mixed(lambda x: torch.linalg.qr(x.T @ x + torch.eye(5))[0].mT @ x.mT.mean(1) + x, name="whitened over the batch")
mixed(lambda x: torch.einsum("bf,bg->fg", x, x)[:1] + x, name="a sum over an axis that was forgotten")
mixed(lambda x: (x - x.mean()) / (1 + x.std(correction=0)), name="normalised over everything")
mixed(lambda x: x.view(5, -1).T.reshape(len(x), 5) if len(x) > 1 else x, name="an axis mistaken for another")
mixed(lambda x: x.unfold(0, 1, 1).squeeze(-1) + F.pad(x, (0, 0, 1, 0))[:-1], name="a window over rows")
refused("rows that are the same, removed", lambda: lambda x: x.unique(dim=0).sin(), "model: .*", alone=True)
refused("experts with room for few rows", lambda: Experts(), COMPANY, alone=True)
refused(
    "padded to the longest of the batch",
    lambda: padded_mean,
    COMPANY,
    lambda: torch.tensor([[1.0, 2, 0, 0], [1, 3, 2, 4], [2, 0, 0, 0]]),
    alone=True,
    step=0.5,
)
refused("ghost batches", lambda: Ghost().eval(), COMPANY, normal(4, 2, 2, 2), alone=True)
equal("experts with room for all", lambda: Experts(room=10**6))


class Experts:
    """A mixture of experts, each of which takes the rows that come first."""

    def __init__(self, room=1):
        self.room = room
        self.experts = [torch.full((5, 2), 0.3), torch.linspace(-1, 1, 10).reshape(5, 2)]

    def __call__(self, x):
        choice, found = (x.sum(1) > 0).long(), torch.zeros(len(x), 2)
        for index, weights in enumerate(self.experts):
            own = (choice == index).nonzero()[: self.room, 0]
            found[own] = (x[own] @ weights).sin()
        return found


def padded_mean(x):
    """The mean over steps up to the length of the longest row."""
    longest = int((x != 0).sum(1).max())
    return x[:, :longest].sin().mean(1, keepdim=True)


class Ghost(nn.Module):
    """Normalises within halves of the batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2, track_running_stats=False)

    def forward(self, x):
        return torch.cat([self.norm(part) for part in x.split(2)]).flatten(1)


# Sizes of batches


def only(allowed):
    """An engine that was built for some sizes of batches."""

    def model(x):
        if not allowed(len(x)):
            raise RuntimeError(f"unexpected batch of {len(x)}\nfor input 'x'")
        return function(x)

    return lambda: model


refused("takes single rows only", only(lambda size: size == 1), "model: fails for.*batch_size=1", alone=True)
refused("takes eight rows only", only(lambda size: size == 8), "model: fails for")
refused("takes even batches only", only(lambda size: size % 2 == 0), "model: fails for")
refused("takes no single rows", only(lambda size: size > 1), "model: fails for")
refused("takes up to two rows", only(lambda size: size <= 2), "model: fails for.*batch_size", alone=True)
refused("fails for everything, in many lines", only(lambda size: False), "model: fails for")
refused("forgets the batch axis of a single row", lambda: lambda x: x.sin().squeeze(0), "model: .*", normal(3, 2))
equal("rows of a batch in chunks", lambda: wrapped(lambda net, x: torch.cat([net(part) for part in x.split(2)]), mlp()))
equal("memory of what was seen, unused", lambda: Seen())
equal(
    "sequences of which each row is seen alone",
    lambda: lambda x: x - x.mean((1, 2), keepdim=True),
    sequences,
    target=(1, 1),
)
equal("probabilities of positive inputs", lambda: lambda x: x / x.sum(1, keepdim=True), positive(3, 4))


class Seen:
    def __init__(self):
        self.seen = []

    def __call__(self, x):
        with contextlib.suppress(IndexError):
            self.seen.pop()
        self.seen.append(x)
        return function(x)
