"""A plan is used again only for a model that still computes what was traced, in whatever way a user has changed it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from approxgrad import FiniteDifference
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from approxgrad.gradients.propagation import engine
from approxgrad.gradients.propagation.unchanged import recorded

factor = 1.5  # a global that the model reads


class Model(nn.Module):
    """A network with something of all that people keep in models."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.act, self.drop = nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh(), nn.Conv2d(4, 4, 1))
        self.normed, self.head = parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 3)
        self.shift = nn.Buffer(torch.linspace(0, 1, 4))
        self.scale, self.chosen, self.kept = 0.5, [0, 1, 2, 3], torch.ones(4)
        self.extra = lambda maps: maps
        self.skip = False

    def forward(self, images):
        maps = self.act(self.norm(self.first(images)))
        other = self.second(maps)
        maps = self.drop(other + (images.mean() * maps if self.skip else other))
        maps = self.extra(self.layers(functional.softplus(maps) * self.scale * factor))[:, self.chosen]
        means = torch.tanh(maps.mean(dim=(2, 3)) + self.shift * torch.tensor(0.1) + self.kept)
        return self.head(self.normed(means))


class LowRank(nn.Module):
    """A layer with an added product of two small matrices."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.down, self.up = inner, nn.Linear(4, 1, bias=False), nn.Linear(1, 3, bias=False)

    def forward(self, x):
        return self.inner(x) + self.up(self.down(x))


def no_grad(function):
    def change(model):
        with torch.no_grad():
            function(model)

    return change


def loaded(model):
    state = model.state_dict()
    model.load_state_dict({name: own * 1.25 if own.is_floating_point() else own for name, own in state.items()})


def through_numpy(model):
    model.second.weight.detach().numpy()[1, 2, 0, 1] += np.float32(0.5)


def last_bit(model):
    bits = model.second.weight.detach().view(torch.int32)
    bits[-1, -1, -1, -1] ^= 1


def closure():
    own = [2.0]

    def change(model):
        model.extra = lambda maps: maps * own[0]

    return change


def swapped(model):
    model.layers[0], model.layers[2] = model.layers[2], model.layers[0]


def spectral(model):
    parametrizations.spectral_norm(model.head)


def hooked(model):
    model.act.register_forward_hook(lambda layer, inputs, output: output * 2)


def pre_hooked(model):
    model.act.register_forward_pre_hook(lambda layer, inputs: (inputs[0] * 2,))


def own_forward(model):
    before = model.forward
    model.forward = lambda images: before(images) * 2


def quantised(model):
    model.head = torch.ao.quantization.quantize_dynamic(nn.Sequential(model.head), {nn.Linear})


CHANGES = {
    "load_state_dict": loaded,
    "in place without a graph": no_grad(lambda model: model.first.weight.mul_(1.5)),
    "in place through .data": lambda model: model.first.weight.data.mul_(1.5),
    ".data assigned": lambda model: setattr(model.first.weight, "data", model.first.weight.data * 1.5),
    "through numpy": through_numpy,
    "the last bit of one number": last_bit,
    "a bias": lambda model: model.first.bias.data.add_(1),
    "a new parameter": lambda model: setattr(model.first, "bias", nn.Parameter(torch.ones(4))),
    "a parameter taken away": lambda model: setattr(model.first, "bias", None),
    "a buffer assigned": lambda model: setattr(model, "shift", torch.zeros(4)),
    "a running mean": lambda model: model.norm.running_mean.add_(1),
    "eps of a norm": lambda model: setattr(model.norm, "eps", 0.1),
    "another layer": lambda model: setattr(model, "act", nn.ELU()),
    "a layer more": lambda model: model.layers.append(nn.Tanh()),
    "a layer less": lambda model: model.layers.pop(1),
    "two layers swapped": swapped,
    "a low-rank addition": lambda model: setattr(model, "head", LowRank(model.head)),
    "a number": lambda model: setattr(model, "scale", 0.25),
    "a list": lambda model: model.chosen.reverse(),
    "a tensor that is no buffer": lambda model: model.kept.mul_(3),
    "a flag, and the same kinds of operations": lambda model: setattr(model, "skip", True),
    "a stride": lambda model: setattr(model.second, "padding", (2, 2)),
    "a closure": closure(),
    "forward of the model": own_forward,
    "forward of a layer": lambda model: setattr(model.act, "forward", torch.sin),
    "a parametrisation": lambda model: parametrize.register_parametrization(model.head, "weight", nn.Tanh()),
    "what a parametrisation reads": lambda model: model.normed.parametrizations.weight.original0.data.mul_(2),
    "spectral norm": spectral,
    "a hook": hooked,
    "a hook before": pre_hooked,
    "training mode of dropout": lambda model: model.drop.train(),
    "training mode of a norm": lambda model: model.norm.train(),
    "double precision": lambda model: model.double(),
    "a layer in double precision": lambda model: model.head.double(),
    "quantised weights": quantised,
    "a compiled layer": lambda model: setattr(model, "layers", torch.compile(model.layers)),
    "a scripted layer": lambda model: setattr(model, "layers", torch.jit.script(model.layers)),
}
OUTSIDE = {
    "a global": lambda patch: patch.setattr(f"{__name__}.factor", 2.5),
    "a function of torch": lambda patch: patch.setattr(functional, "softplus", functional.relu),
    "forward of a class": lambda patch: patch.setattr(nn.Tanh, "forward", lambda self, x: x.sin()),
}


def images(rows=1, seed=1):
    return torch.randn(rows, 2, 5, 6, generator=torch.Generator().manual_seed(seed))


def outcome(source, model, x):
    try:
        return source(model, x, 1)[0]
    except ValueError as error:
        return str(error)


@pytest.fixture
def source():
    return FiniteDifference(0.03, evaluation="propagated", check_rows=False)


@pytest.fixture
def graphs(monkeypatch):
    """What has been traced."""
    found = []

    class Counted(engine.Graph):
        def __init__(self, *arguments):
            found.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(engine, "Graph", Counted)
    return found


def compare(source, model, x, before):
    after = outcome(source, model, x)
    fresh = outcome(FiniteDifference(0.03, evaluation="propagated", check_rows=False), model, x)
    assert type(after) is type(fresh)
    assert torch.equal(after, fresh) if isinstance(after, torch.Tensor) else after == fresh
    assert isinstance(after, str) or not torch.equal(after, before)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_change_of_the_model_is_seen(name, source):
    model, x = Model().eval(), images()
    before = source(model, x, 1)[0]
    CHANGES[name](model)
    compare(source, model, x, before)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_change_of_what_a_model_calls_is_seen(name, source, monkeypatch):
    model, x = Model().eval(), images()
    before = source(model, x, 1)[0]
    OUTSIDE[name](monkeypatch)
    compare(source, model, x, before)


def test_autocast_is_seen(source):
    model, x = Model().eval(), images()
    source(model, x, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "differences cannot be propagated" in outcome(source, model, x)


def test_an_unchanged_model_is_traced_once(source, graphs):
    model, x = Model().eval(), images()
    found = source(model, x, 1)[0]
    assert torch.equal(source(model, x, 1)[0], found)
    # What does not change what it computes does not matter, nor do other rows.
    model.requires_grad_(False)
    assert torch.equal(source(copy.deepcopy(model), images(3, seed=2), 1)[0][:0], found[:0])
    assert torch.equal(source(model, x, 1)[0], found)
    assert len(graphs) == 1


def test_a_function_around_a_known_model_is_no_longer_the_model(source):
    class Doubled(ModelWrapper):
        same_outputs = False

        def __call__(self, x):
            return 2 * self.__wrapped__(x)

    model, x = Model().eval(), images()
    source(model, x, 1)
    assert "a function around it combines its outputs" in outcome(source, Doubled(model), x)


def test_a_target_that_a_known_model_does_not_have_is_refused(source):
    model, x = Model().eval(), images()
    source(model, x, 1)
    with pytest.raises(ValueError, match="target") as error:
        source(model, x, 3)
    with pytest.raises(ValueError, match="target") as first:
        FiniteDifference(0.03, evaluation="propagated")(model, x, 3)
    assert str(error.value) == str(first.value)


def test_other_shapes_steps_and_precisions_are_traced_anew(source, graphs):
    model = Model().eval()
    source(model, images(), 1)
    source(model, torch.randn(1, 2, 6, 6), 1)
    source(model, torch.randn(1, 2, 6, 6, dtype=torch.float64).float(), 1)
    source(model.double(), torch.randn(1, 2, 6, 6, dtype=torch.float64), 1)
    assert len(graphs) == 3


def test_a_refused_model_leaves_no_plan(source, graphs):
    model, x = Model().eval(), images()
    model.extra = lambda maps: maps if maps.sum() > 0 else -maps
    assert "it decides something by numbers" in outcome(source, model, x)
    assert "it decides something by numbers" in outcome(source, model, x)
    assert len(graphs) == 2


def test_the_same_operations_in_another_order_are_another_record():
    def network(function):
        own = nn.Identity()
        own.forward = function
        return own

    x = torch.randn(1, 4)
    records = [
        recorded(network(function), x)
        for function in (
            lambda x: (x.sin(), x.cos(), x.sin() + x.cos())[2],
            lambda x: (x.sin(), x.cos(), x.cos() + x.sin())[2],
            lambda x: (x.sin().cos(), x.sin() + x.cos())[1],
            lambda x: x.sin() + 1,
            lambda x: x.sin() + 1.0,
            lambda x: x.sin() + True,
            lambda x: x.sin() + 0.0,
            lambda x: x.sin() + -0.0,
            lambda x: x.sin() + torch.tensor([0.0]),
            lambda x: x.sin() + torch.tensor([-0.0]),
            lambda x: (x.sin(), x.cos())[0],
            lambda x: (x.sin(), x.cos())[1],
            lambda x: x.clone().sin_(),
            lambda x: x.clone().sin(),
        )
    ]
    assert None not in records
    assert len(set(records)) == len(records)


def test_what_cannot_be_compared_has_no_record():
    weight = torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 0, torch.qint8)
    generator = torch.Generator().manual_seed(0)
    for function in (
        lambda x: x @ weight.dequantize(),
        lambda x: x @ torch.eye(4).to_sparse(),
        lambda x: x + torch.rand(4, generator=generator),
        lambda x: 1 / 0,
    ):
        own = nn.Identity()
        own.forward = function
        assert recorded(own, torch.randn(1, 4)) is None
