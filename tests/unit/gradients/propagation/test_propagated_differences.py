"""Finite differences with propagated evaluation: results, what is recorded, and which models are refused."""

import copy
from pathlib import Path

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from approxgrad import CompiledModel, FiniteDifference, attribute
from approxgrad.gradients.stencils import SCHEMES
from approxgrad.models.networks import CNN, MLP, residual_network

SHARED = Path(__file__).resolve().parents[5] / "shared"


def small(seed=0, side=8, dtype=torch.float32):
    torch.manual_seed(seed)
    return CNN((2, side, side), 3).to(dtype).eval()


def strided(stride):
    """The same parameters for every stride, and nothing to be saved."""
    return nn.Sequential(nn.Conv2d(2, 3, 3, stride), nn.Flatten(), *[nn.Softmax(dim=1)] * 20).eval()


def images(rows=2, side=8, dtype=torch.float32, seed=1):
    return torch.randn(rows, 2, side, side, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def propagated(step, scheme="forward", **settings):
    return FiniteDifference(step, scheme, evaluation="propagated", **settings)


def in_double(model, x, step, scheme, target):
    """Differences of evaluations in double precision, divided by the step as it is given."""
    source = FiniteDifference(step, scheme, nominal=True)
    return source(copy.deepcopy(model).double(), x.double(), target)[0]


def error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("step", [10.0, 1.0, 0.01, 1e-4])
def test_single_precision_is_as_good_as_differences_in_double(scheme, step):
    model, x, target = small(), images(), torch.tensor([2, 0])
    assert error(propagated(step, scheme)(model, x, target)[0], in_double(model, x, step, scheme, target)) < 1e-6


@pytest.mark.parametrize("step", [1.0, 0.01])
def test_double_precision(step):
    model, x = small(dtype=torch.float64), images(dtype=torch.float64)
    found = propagated(step, "central")(model, x, 1)[0]
    assert found.dtype == torch.float64
    assert error(found, in_double(model, x, step, "central", 1)) < 1e-12


def test_tiny_steps_give_the_gradient():
    model, x = small(), images()
    exact = attribute(model.double(), x.double(), target=1, method="gradient")
    model.float()
    assert error(propagated(1e-12)(model, x, 1)[0], exact) < 1e-6


@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_ties_and_constant_images(fill):
    model, x = small(), torch.full((1, 2, 8, 8), fill)
    with torch.no_grad():
        model.conv1.bias.zero_()
    for step, scheme in ((0.5, "forward"), (0.5, "backward"), (10.0, "central")):
        found, expected = propagated(step, scheme)(model, x, 1)[0], in_double(model, x, step, scheme, 1)
        # Both halves of a central difference round, and they may cancel.
        halves = [in_double(model, x, step, half, 1).norm() for half in ("forward", "backward")]
        assert (found - expected).norm() < 1e-6 * max(halves)


def test_a_step_for_each_feature():
    model, x = small(), images()
    step = torch.linspace(0.01, 1, 128, dtype=torch.float64).reshape(2, 8, 8)
    assert error(propagated(step)(model, x, 1)[0], in_double(model, x, step, "forward", 1)) < 1e-6


def test_chosen_features_in_any_order():
    model, x, features = small(), images(), torch.tensor([100, 3, 3, 64])
    found = propagated(0.1).partial_derivatives(model, (x,), features, 1)
    whole = propagated(0.1)(model, x, 1)[0].flatten(1)
    torch.testing.assert_close(found.float(), whole[:, features])


def test_results_are_the_same_in_every_run_and_for_any_number_of_inputs():
    model, x = small(), images(rows=5)
    found = propagated(0.1)(model, x, 1)[0]
    assert torch.equal(found, propagated(0.1)(model, x, 1)[0])
    for rows in (slice(0, 1), slice(2, 5)):
        assert torch.equal(found[rows], propagated(0.1)(model, x[rows], 1)[0])


@pytest.mark.parametrize("budget", [1, 100_000])
def test_little_memory(budget):
    model, x = small(), images()
    found = propagated(0.1, memory_budget=budget)(model, x, 1)[0]
    assert error(found, propagated(0.1)(model, x, 1)[0].double()) < 1e-6


def test_outputs_with_several_axes_and_with_none():
    x = images()
    grid = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    assert error(propagated(0.1)(grid, x, (1, 2, 3))[0], in_double(grid, x, 0.1, "forward", (1, 2, 3))) < 1e-6

    class Mean(nn.Module):
        def forward(self, x):
            return x.sin().mean(dim=(1, 2, 3))

    assert error(propagated(0.1)(Mean(), x)[0], in_double(Mean(), x, 0.1, "forward", None)) < 1e-6


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_attribution(method):
    model, x = small(), images()
    options = {"n_steps": 4} if method != "saliency" else {}
    found = attribute(model, x, target=1, method=method, gradient=propagated(0.01), **options)
    expected = attribute(
        model.double(), x.double(), target=1, method=method, gradient=FiniteDifference(0.01), **options
    )
    assert error(found, expected) < 1e-5


def test_captum():
    model, x = small(), images()
    for method in (Saliency(model), IntegratedGradients(model)):
        method.gradient_func = propagated(0.01)
        found = method.attribute(x, target=1)
        method.gradient_func = FiniteDifference(0.01)
        assert error(found, method.attribute(x, target=1).double()) < 1e-2


def test_what_is_recorded():
    source = FiniteDifference(0.01, evaluation="auto")
    assert (source.used_evaluation, source.saved_operations, source.without_rule) == (None, None, ())
    source(small(side=32), images(1, 32), 1)
    assert source.used_evaluation == "propagated"
    assert source.saved_operations > 10
    assert source.without_rule == ()
    assert 0 < source.check_evaluations < 50
    assert repr(source) == "FiniteDifference(step=0.01, scheme='forward', evaluation='auto')"


@pytest.mark.parametrize(
    "model", [MLP((2, 8, 8), 3, (16, 8), 0.1).eval(), nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), small]
)
def test_auto_stays_dense_where_nothing_is_saved_or_the_model_cannot_be_followed(model):
    own = small(side=8) if model is small else model
    called = (lambda x: own(x)) if model is small else own
    source, x = FiniteDifference(0.01, evaluation="auto"), images()
    found = source(called, x, 1)[0]
    assert source.used_evaluation == "dense"
    assert torch.equal(found, FiniteDifference(0.01)(called, x, 1)[0])


def test_auto_looks_at_a_network_that_does_not_pay_once(monkeypatch):
    from approxgrad.gradients.propagation import engine

    looked = []
    monkeypatch.setattr(
        engine,
        "plan_of",
        lambda stream, *rest, own=engine.plan_of, **options: looked.append(stream) or own(stream, *rest, **options),
    )
    source, x = FiniteDifference(0.01, evaluation="auto"), images()
    first, second = (MLP((2, 8, 8), 3, width, 0.1).eval() for width in ((16, 8), (16, 9)))
    for model, count in ((first, 1), (copy.deepcopy(first), 1), (second, 2)):
        source(model, x, 1)
        assert (len(looked), source.used_evaluation) == (count, "dense")
        assert source.saved_operations < engine.PAYS
    source(small(side=32), images(1, 32), 1)
    assert (len(looked), source.used_evaluation) == (3, "propagated")
    for stride in (1, 2, 2):
        source(strided(stride), images(1, 8), 1)
        assert source.used_evaluation == "dense"
    assert len(looked) == 5


def test_auto_forgets_why_a_network_could_not_be_followed():
    model, source, x = small(side=32), FiniteDifference(0.01, evaluation="auto"), images(1, 32)
    hook = model.register_forward_hook(lambda *_: None)
    for evaluation in ("dense", "propagated"):
        source(model, x, 1)
        assert source.used_evaluation == evaluation
        hook.remove()


def test_dense_is_the_default_and_traces_nothing():
    source = FiniteDifference(0.01)
    source(small(), images(), 1)
    assert (source.evaluation, source.used_evaluation, source.saved_operations) == ("dense", "dense", None)


def test_an_unknown_evaluation_is_refused():
    with pytest.raises(ValueError, match="evaluation: got 'sparse', expected one of dense, propagated, auto"):
        FiniteDifference(0.1, evaluation="sparse")


def test_the_model_is_left_as_it_was():
    model, x = small(), images()
    before = copy.deepcopy(model.state_dict())
    flags = [parameter.requires_grad for parameter in model.parameters()]
    kept = x.clone()
    propagated(0.1)(model, x, 1)
    assert all(torch.equal(own, before[name]) for name, own in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(x, kept)
    assert torch.backends.mha.get_fastpath_enabled()


def test_weights_that_change_between_calls_are_seen():
    model, x, source = small(), images(), propagated(0.1)
    ready = source.prepare(model, (x,), (), torch.tensor([[1], [1]]))
    first = source(ready, x, 1)[0]
    with torch.no_grad():
        model.fc2.weight.mul_(2)
    torch.testing.assert_close(source(ready, x, 1)[0], 2 * first)


class Module(nn.Module):
    def __init__(self, function, **own):
        super().__init__()
        self.function, self.inner = function, nn.Linear(128, 3)
        for name, value in own.items():
            setattr(self, name, value)

    def forward(self, x, *further):
        return self.function(self, x.flatten(1), *further)


def hooked():
    model = small()
    model.conv2.register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def counting():
    model = Module(lambda self, x: self.inner(x) + 0 * self.calls.add_(1))
    model.register_buffer("calls", torch.zeros(1))
    return model


REFUSED = {
    "function": (lambda: lambda x: x.flatten(1).sin(), "it is no torch.nn.Module but function"),
    "compiled": (lambda: torch.jit.script(nn.Linear(8, 3)), "it is compiled"),
    "hooks": (hooked, r"layer 'conv2' \(Conv2d\) has hooks"),
    "buffers": (counting, "it changes its buffers"),
    "branches": (
        lambda: Module(lambda self, x: self.inner(x) if x.sum() > 0 else -self.inner(x)),
        r"it decides something by numbers made from its input \(aten._local_scalar_dense.default\)",
    ),
    "precision": (
        lambda: Module(lambda self, x: self.inner(x).bfloat16().float()),
        "it converts numbers to torch.bfloat16",
    ),
    "numpy": (
        lambda: Module(lambda self, x: torch.from_numpy(self.inner(x).numpy())),
        r"numbers leave torch \(numpy\)",
    ),
    "item": (lambda: Module(lambda self, x: self.inner(x) * float(x.max())), "it decides something by numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_followed_is_refused_in_one_line_and_left_to_dense_by_auto(name):
    make, reason = REFUSED[name]
    model, x = make(), images()
    target = (0, 0, 1) if name == "compiled" else 1
    with torch.no_grad(), pytest.raises(ValueError, match=reason) as refused:
        propagated(0.1, check_rows=False)(model, x, target)
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith("evaluation: differences cannot be propagated through this model, because ")
    assert text.endswith("; 'dense' takes any model")
    source = FiniteDifference(0.1, evaluation="auto", check_rows=False)
    with torch.no_grad():
        source(model, x, target)
    assert source.used_evaluation == "dense"


def test_steps_of_a_model_are_found_and_recorded():
    model, x = Module(lambda self, x: (self.inner(x) * 30).round()), images()
    source = propagated(0.5)
    assert error(source(model, x, 1)[0], in_double(model, x, 0.5, "forward", 1)) < 1e-6
    assert source.without_rule == ("aten.round.default",)


def test_other_forms_of_calls_are_refused():
    model, x = Module(lambda self, x, *further: self.inner(x + sum(further))), images()
    with pytest.raises(ValueError, match="several inputs or additional arguments"):
        propagated(0.1)(model, x, 1, torch.zeros(2, 128))
    with pytest.raises(ValueError, match="a function around it combines its outputs"):
        attribute(small(), x, target=1, method="integrated_gradients_published", gradient=propagated(0.1), n_steps=2)
    with pytest.raises(ValueError, match=r"bfloat16"):
        propagated(0.1)(small().bfloat16(), x.bfloat16(), 1)
    with pytest.raises(ValueError, match="training mode"):
        propagated(0.1)(MLP((2, 8, 8), 3, (16,), 0.5).train(), x, 1)


def test_differences_that_are_not_finite_are_refused():
    class Steep(nn.Module):
        def forward(self, x):
            return torch.exp(80 * x.flatten(1)[:, :3])

    x = torch.zeros(1, 2, 8, 8)
    with pytest.raises(ValueError, match="model: output is inf for input 0 with feature 0 moved"):
        propagated(torch.where(torch.arange(128) == 0, 1e3, 0.01).double().reshape(2, 8, 8))(Steep(), x, 0)


@pytest.mark.slow
def test_a_compiled_wrapper_gives_its_model():
    model, x = small(), images()
    assert torch.equal(propagated(0.1)(CompiledModel(model), x, 1)[0], propagated(0.1)(model, x, 1)[0])


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_trained_networks(name):
    path = SHARED / "models" / f"cifar10_{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    from safetensors.torch import load_file

    model = CNN((3, 32, 32), 10) if name == "cnn" else residual_network(name, (3, 32, 32), 10, "imagenet")
    model.load_state_dict(load_file(path))
    model.eval()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = torch.arange(0, 3072, 61)
    for step in (1.0, 1e-2, 1e-4, 1e-6):
        found = propagated(step).partial_derivatives(model, (x,), features, 3)
        own = copy.deepcopy(model).double()
        expected = FiniteDifference(step, nominal=True).partial_derivatives(own, (x.double(),), features, 3)
        # The reference loses digits itself: 16 of a double, over the step.
        assert error(found, expected) < 1e-6 + 1e-13 / step, step
