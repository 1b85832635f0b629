"""Zoo: functional transforms, autograd inside a model, and caches."""

import copy
import functools

import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

from zoo import equal, refused
from zoo_parts import convolution, energy, mlp, small_images, wrapped

# torch.func


class Stacked(nn.Module):
    """An ensemble that vmap evaluates at once."""

    def __init__(self):
        super().__init__()
        members = [convolution() for _ in range(3)]
        self.weights, self.buffers_ = stack_module_state(members)
        self.base = copy.deepcopy(members[0]).to("meta")

    def forward(self, x):
        each = vmap(lambda w, b: functional_call(self.base, (w, b), (x,)))(self.weights, self.buffers_)
        return each.mean(0)


equal("an ensemble by vmap", lambda: Stacked().eval(), small_images, changes_itself=True, shared=False)
equal("a model that vmap takes row by row", lambda: vmap(lambda row: row.cumsum(0).sin()))
equal("torch.func.grad inside", lambda: wrapped(lambda net, x: vmap(grad(lambda row: net(row).sum()))(x), energy()))
equal(
    "torch.func.jvp inside",
    lambda: wrapped(lambda net, x: jvp(net, (x,), (torch.ones_like(x),))[1], energy()),
    shared=False,
)
equal("torch.func.jacrev inside", lambda: wrapped(lambda net, x: vmap(jacrev(net))(x), energy()), target=(0, 2))

# Autograd inside


def force(net, x):
    """The gradient of an energy, as force fields are."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net(x).sum(), x)[0]


def own_force(net, x):
    """The same with the input itself, and a graph that goes on."""
    torch.set_grad_enabled(True)
    x.requires_grad_()
    return torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]


def adapted(net, x):
    """Two steps of gradient descent on the input."""
    with torch.enable_grad():
        place = x.detach()
        for _ in range(2):
            place = place.requires_grad_()
            place = (place - 0.1 * torch.autograd.grad(net(place).sum(), place)[0]).detach()
    return net(place)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x.sin()

    @staticmethod
    def backward(ctx, upstream):
        return upstream * 2 * ctx.saved_tensors[0].cos()


equal("a force field", lambda: wrapped(force, energy()))
equal("a force field that switches autograd on for good", lambda: wrapped(own_force, energy()))
equal("a model that descends along its own gradient", lambda: wrapped(adapted, energy()))
equal(
    "a force field with a convolution",
    lambda: wrapped(lambda net, x: force(net, x).flatten(1), convolution()),
    small_images,
)
equal("a function with its own backward", lambda: wrapped(lambda net, x: net(Double.apply(x)), mlp()))
equal(
    "checkpointed", lambda: wrapped(lambda net, x: checkpoint(net, x, use_reentrant=False), mlp()), changes_itself=True
)
equal(
    "checkpointed in the old way",
    lambda: wrapped(lambda net, x: checkpoint(net, x, use_reentrant=True), mlp()),
    changes_itself=True,
)
equal(
    "a model under inference_mode",
    lambda: wrapped(torch.inference_mode()(lambda net, x: net(x)), convolution()),
    small_images,
)
equal("a model under no_grad", lambda: wrapped(torch.no_grad()(lambda net, x: net(x)), convolution()), small_images)
equal("a model made under inference_mode", lambda: torch.inference_mode()(convolution)(), small_images)
equal("outputs that require a gradient", lambda: wrapped(lambda net, x: torch.enable_grad()(net)(x), mlp()))
equal("weights that require no gradient", lambda: mlp().requires_grad_(False))

# Caches


class ByShape(nn.Module):
    """Keeps a matrix for every shape of inputs that it has seen."""

    def __init__(self):
        super().__init__()
        self.seen, self.last = {}, nn.Linear(5, 2)

    def forward(self, x):
        if x.shape not in self.seen:
            self.seen[x.shape] = torch.linspace(0.5, 1.5, x.shape[1]).expand(x.shape).clone()
        return self.last(x * self.seen[x.shape])


class FirstUse(nn.Module):
    """Makes a buffer when it is called first."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        if self.scale is None:
            self.scale = torch.linspace(0.5, 1.5, 5)
        return self.last(x * self.scale)


class Folded(nn.Module):
    """Multiplies its weights together at first use, and keeps the product."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.product = nn.Linear(5, 4, bias=False), nn.Linear(4, 2, bias=False), None

    def forward(self, x):
        if self.product is None:
            self.product = (self.two.weight @ self.one.weight).T
        return (x @ self.product).tanh()


class Reused(nn.Module):
    """Writes into one buffer, of which it returns a part: the next call overwrites it."""

    def __init__(self, whole):
        super().__init__()
        self.net, self.whole, self.kept = mlp(), whole, torch.zeros(5000, 3)

    def forward(self, x):
        if self.whole:
            self.kept.resize_(len(x), 3)
        return self.kept[: len(x)].copy_(self.net(x))


class Same:
    """Returns the same tensor each time, its numbers exchanged."""

    def __init__(self):
        self.found = torch.empty(0)

    def __call__(self, x):
        self.found.data = x.sin().cumsum(1)
        return self.found


@functools.lru_cache(maxsize=4)
def frequencies(count):
    return torch.linspace(0.5, 1.5, count)


equal("a cache by shape", lambda: ByShape().eval())
equal("a buffer made at first use", lambda: FirstUse().eval(), changes_itself=True)
equal("weights multiplied at first use", lambda: Folded().eval(), changes_itself=True)
equal("a function with lru_cache", lambda: wrapped(lambda net, x: net(x * frequencies(x.shape[1])), mlp()))
equal("a buffer that the next call overwrites", lambda: Reused(whole=False).eval(), shared=False)
equal("a buffer that grows and shrinks", lambda: Reused(whole=True).eval(), shared=False)
equal("the same tensor for each call", Same, shared=False)
equal("remembers what it was given", lambda: Remembering().eval(), changes_itself=True)
refused(
    "a memo of outputs that forgets what they were for",
    lambda: wrapped(functools.partial(forgetful, {}), mlp()),
    "model: outputs differ",
)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.last = mlp(), None

    def forward(self, x):
        self.last = self.net(x)
        return self.last


def forgetful(memo, net, x):
    key = tuple(x.shape)
    if key not in memo:
        memo[key] = net(x)
    return memo[key]
