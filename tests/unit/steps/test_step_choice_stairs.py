"""Steps for models whose output is a staircase: rounded, quantised, in half precision, or a forest."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.ao import quantization

from approxgrad import ExactGradient, FiniteDifference, attribute, choose_step
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.steps.search import most_evaluations

DATA = load_digits()
DIGITS = torch.tensor(DATA.data / 16, dtype=torch.float32)
LABELS = torch.tensor(DATA.target)
ROWS, TARGETS = DIGITS[:16], LABELS[:16]
GRID = np.geomspace(1e-3, 4, 19)
PATH = {"baselines": 0.0, "n_steps": 8}
QUANTA = [1e-4, 1e-3, 1e-2, 0.05, 0.25]


def trained(network, shape):
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(DIGITS.reshape(-1, *shape)[::2]), LABELS[::2]).backward()
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def network(request):
    """A trained network of digits, with inputs of its shape."""
    torch.manual_seed(1)
    if request.param == "mlp":
        return trained(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), (64,)), ROWS
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10)]
    return trained(nn.Sequential(*layers), (1, 8, 8)), ROWS.reshape(-1, 1, 8, 8)


@pytest.fixture(scope="module")
def mlp():
    torch.manual_seed(0)
    return trained(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), (64,))


def rounded(model, quantum):
    return lambda x: torch.round(model(x) / quantum) * quantum


def int8(model, inputs):
    """Static quantisation in eager mode, behind a function, since only evaluations are needed."""
    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("torch has no quantised kernels for this processor")

    class Stubs(nn.Module):
        def __init__(self):
            super().__init__()
            self.quantise, self.inner = quantization.QuantStub(), copy.deepcopy(model)
            self.restore = quantization.DeQuantStub()

        def forward(self, x):
            return self.restore(self.inner(self.quantise(x)))

    stubs = Stubs().eval()
    stubs.qconfig = quantization.get_default_qconfig("x86")
    torch.backends.quantized.engine = "x86"
    prepared = quantization.prepare(stubs)
    prepared(inputs)
    converted = quantization.convert(prepared)
    return lambda x: converted(x)


def stepped(name, model, inputs):
    return int8(model, inputs) if name == "int8" else rounded(model, name)


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [*QUANTA, "int8"])
@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_the_error_across_stairs_is_near_the_best_of_all_steps_and_predicted(network, name, scheme, method):
    model, x = network
    coarse = stepped(name, model, DIGITS[:200].reshape(-1, *x.shape[1:]))
    path = PATH if method == "integrated_gradients" else {}
    exact = attribute(model, x, target=TARGETS, method=method, **path).flatten(1)

    def difference(step):
        gradient = FiniteDifference(float(step), scheme)
        found = attribute(coarse, x, target=TARGETS, method=method, gradient=gradient, **path)
        return found.flatten(1) - exact

    def error(step):
        return float((difference(step).norm(dim=1) / exact.norm(dim=1)).median())

    choice = choose_step(coarse, x, TARGETS, scheme, **path)
    assert choice.regime == "staircase"
    if name == "int8":
        assert choice.noise >= choice.quantum / math.sqrt(12)
    else:
        assert choice.quantum == pytest.approx(name, rel=0.01)
        assert choice.noise == pytest.approx(name / math.sqrt(12), rel=0.2)
    assert error(choice.step) < 2 * min(map(error, GRID))
    if path:
        # The map is the averaged derivative times the inputs.
        real = float(difference(choice.step).norm() / x.norm())
    else:
        source = FiniteDifference(choice.step, scheme)
        real = float((source(coarse, x, TARGETS)[0] - ExactGradient()(model, x, TARGETS)[0]).square().mean().sqrt())
    assert real / 3 < choice.error < 3 * real
    assert choice.evaluations <= most_evaluations(x.dtype, scheme, 64, len(x) * (PATH["n_steps"] if path else 1))


# Which models are staircases


def softmax(model, x):
    return torch.softmax(model(x) / 4, dim=1)


def branches(model, x):
    """A rounded branch beside a smooth one, like a skip connection."""
    return torch.round(model(x) * 20) / 20 + 0.3 * x.sum(dim=1, keepdim=True)


STAIRCASES = {
    "affine": (lambda f, x: 3.7 * torch.round(f(x) * 20) / 20 - 1.234, 3.7 / 20),
    "zero point": (lambda f, x: (torch.clamp(torch.round(f(x) / 0.3) + 100, 0, 255) - 100) * 0.3, 0.3),
    "integers as floats": (lambda f, x: (10 * f(x)).to(torch.int64).float(), 1.0),
    "probabilities": (lambda f, x: torch.round(softmax(f, x), decimals=2), 0.01),
    "many digits of probabilities": (lambda f, x: torch.round(softmax(f, x), decimals=6), 1e-6),
    "log of probabilities": (lambda f, x: torch.log(torch.round(softmax(f, x), decimals=4) + 1e-5), None),
    "cancellation": (lambda f, x: (f(x) + 1e6) - 1e6, 1 / 16),
    "sum": (lambda f, x: torch.round(f(x) * 100).sum(dim=1, keepdim=True).expand(-1, 10) / 100, 0.01),
    "branches": (branches, 0.05),
    "coarse branches": (lambda f, x: torch.round(2 * f(x)) / 2 + 0.3 * x.sum(dim=1, keepdim=True), 0.5),
    "constant rows": (lambda f, x: torch.round(f(x).clamp(max=9.0), decimals=2), 0.01),
    "bfloat16": (lambda f, x: copy.deepcopy(f).bfloat16()(x.bfloat16()).float(), None),
    "float16": (lambda f, x: copy.deepcopy(f).half()(x.half()).float(), None),
}


@pytest.mark.parametrize("name", STAIRCASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_staircases_are_recognised(mlp, name, seed):
    function, quantum = STAIRCASES[name]
    choice = choose_step(lambda x: function(mlp, x), ROWS, TARGETS, "central", seed=seed)
    assert choice.regime == "staircase"
    if quantum is None:
        assert choice.quantum > 0
    else:
        assert choice.quantum == pytest.approx(quantum, rel=0.02)
    assert choice.noise > 0.98 * choice.quantum / math.sqrt(12)


def test_noise_of_several_rounded_outputs_is_that_of_all(mlp):
    choice = choose_step(lambda x: STAIRCASES["sum"][0](mlp, x), ROWS, TARGETS)
    assert choice.noise == pytest.approx(math.sqrt(10 / 12) / 100, rel=0.3)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_the_error_in_half_precision_is_near_the_best_of_all_steps(mlp, precision, scheme):
    inner = copy.deepcopy(mlp).to(precision)
    exact = attribute(mlp, ROWS, target=TARGETS)

    def model(x):
        return inner(x.to(precision)).float()

    def error(step):
        found = attribute(model, ROWS, target=TARGETS, gradient=FiniteDifference(float(step), scheme))
        return float(((found - exact).norm(dim=1) / exact.norm(dim=1)).median())

    choice = choose_step(model, ROWS, TARGETS, scheme)
    assert choice.regime == "staircase"
    assert error(choice.step) < 2 * min(map(error, GRID))


def estimator(kind):
    fitted = kind.fit(DATA.data[:600] / 16, DATA.target[:600])
    if hasattr(fitted, "predict_proba"):
        return lambda x: torch.tensor(fitted.predict_proba(x.numpy()))
    return lambda x: torch.tensor(fitted.predict(x.numpy()))[:, None].expand(-1, 10)


PIECEWISE_CONSTANT = {
    "forest": lambda _: estimator(RandomForestClassifier(100, random_state=0)),
    "boosted trees": lambda _: estimator(GradientBoostingRegressor(n_estimators=30, random_state=0)),
    "neighbours": lambda _: estimator(KNeighborsClassifier(5)),
    "labels": lambda model: lambda x: nn.functional.one_hot(model(x).argmax(dim=1), 10).float(),
    "one jump": lambda _: lambda x: (x[:, 20:21] > 0.5).float().expand(-1, 10),
}


@pytest.mark.parametrize("name", PIECEWISE_CONSTANT)
@pytest.mark.parametrize("path", [{}, PATH])
def test_a_piecewise_constant_model_is_told_from_a_rounded_one(mlp, name, path):
    model = PIECEWISE_CONSTANT[name](mlp)
    for seed in range(2):
        choice = choose_step(model, ROWS, TARGETS, seed=seed, **path)
        assert choice.regime == "piecewise constant"
        assert choice.quantum > 0
        assert (choice.curvature, choice.kink_distance) == (None, None)
        assert math.isfinite(choice.error)
    if not path:
        assert choice.step == pytest.approx(float(ROWS.square().mean().sqrt()), rel=0.02)


CONTINUOUS = {
    "rectifiers": lambda f, x: f(x),
    "dead zone": lambda f, x: torch.relu(f(x) - 8),
    "clipped": lambda f, x: f(x).clamp(-2, 8),
    "clipped inputs": lambda f, x: f(x.clamp(0, 1)),
    "large outputs": lambda f, x: f(x) + 1e6,
    "steep": lambda f, x: torch.tanh(1e4 * (f(x) - 8)),
    "float32 inside": lambda f, x: f(x.float()).double(),
    "constant": lambda f, x: torch.full((len(x), 10), 3.0),
    "a jump elsewhere": lambda f, x: f(x) + 5.0 * (x.sum(dim=1, keepdim=True) > 40),
}


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_models_have_no_stairs(mlp, name, dtype):
    if name == "large outputs" and dtype == torch.float64:
        dtype = torch.float32
    model = copy.deepcopy(mlp).to(torch.float32 if name == "float32 inside" else dtype)
    choice = choose_step(lambda x: CONTINUOUS[name](model, x), ROWS.to(dtype), TARGETS)
    assert choice.regime in ("smooth", "kinks", "linear")
    assert choice.quantum is None


def test_a_rounded_linear_model_takes_a_step_beyond_the_size_of_the_inputs():
    x = torch.rand(30, 5, generator=torch.Generator().manual_seed(0))
    choice = choose_step(lambda x: torch.round((x * torch.arange(1, 6)).sum(dim=1), decimals=1), x)
    assert choice.step == pytest.approx(8 * float(x.square().mean().sqrt()), rel=0.1)
    assert choice.error == pytest.approx(0.1 / math.sqrt(6) / choice.step, rel=0.2)


def test_a_rounded_model_of_limited_domain_keeps_to_it():
    x = 3 + torch.rand(30, 5, generator=torch.Generator().manual_seed(0))
    choice = choose_step(lambda x: torch.round(torch.log(x).sum(dim=1), decimals=2), x, scheme="central")
    assert choice.regime == "staircase"
    assert choice.step < 3


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("path", [{}, {"baselines": 0.0, "n_steps": 1}, PATH])
def test_few_rows_are_enough(mlp, count, path):
    choice = choose_step(rounded(mlp, 0.05), ROWS[:count], TARGETS[:count], **path)
    assert choice.regime == "staircase"
    assert choice.quantum == pytest.approx(0.05, rel=0.01)


# How the model is evaluated


class Caching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.position = nn.Linear(64, 10), None

    def forward(self, x):
        if self.position is None:
            self.position = torch.arange(64.0)[None] / 10
        return self.layer(x * self.position)


class Differentiating(nn.Module):
    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(64, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x)[0]


def test_a_model_may_cache_differentiate_and_change_its_inputs():
    torch.manual_seed(0)
    caching = Caching().eval()
    choose_step(caching, ROWS, 0)
    caching.train()(ROWS).sum().backward()  # what it cached can be trained with
    assert choose_step(Differentiating().eval(), ROWS, 0).regime == "smooth"
    before = ROWS.clone()
    choose_step(lambda x: x.mul_(2).sum(dim=1), ROWS)
    assert torch.equal(ROWS, before)
    with torch.inference_mode():
        assert choose_step(caching, ROWS, 0).step > 0


def test_rows_that_see_each_other_are_refused_unless_the_check_is_off(mlp):
    def model(x):
        return mlp(x - x.mean(dim=0))

    with pytest.raises(RowError, match="beside others"):
        choose_step(model, ROWS, TARGETS)
    with_check, without = (choose_step(mlp, ROWS, TARGETS, check_rows=check) for check in (True, False))
    assert choose_step(model, ROWS, TARGETS, check_rows=False).step > 0
    assert with_check.step == without.step
    assert 9 <= with_check.evaluations - without.evaluations <= 105
    assert choose_step(model, ROWS, TARGETS, batch_size=1).step > 0
