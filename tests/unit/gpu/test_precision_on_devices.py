"""Short numbers, TF32, and recurrent layers: what a GPU does that a CPU does not."""

import threading

import pytest
import torch
from torch import nn

from approxgrad import ExactGradient, FiniteDifference
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.full_float32 import TF32_EPS, allow_tf32, product_eps
from devices import CPU, EPS32, STEP, TARGET, images, on_devices, rounding, smooth_network


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@on_devices
def test_differences_in_half_precision_are_those_of_float64_to_its_rounding(device, dtype):
    step = 0.5  # so that rounding is small beside it
    (found,) = FiniteDifference(step, "central")(smooth_network(dtype, device), images().to(device, dtype), TARGET)
    (wanted,) = FiniteDifference(step, "central")(smooth_network(), images(), TARGET)
    assert found.dtype == dtype
    # Few roundings of each output, whose derivative is the difference of two over twice the step.
    assert (found.double().to(CPU) - wanted).abs().max() <= 4 * torch.finfo(dtype).eps / step


@pytest.mark.parametrize("arithmetic", ["bfloat16", "float16"])
@on_devices
def test_changes_propagated_in_half_precision_are_those_of_float64_to_its_rounding(device, arithmetic):
    source = FiniteDifference(STEP, evaluation="propagated", arithmetic=arithmetic)
    (found,) = source(smooth_network(torch.float32, device), images().float().to(device), TARGET)
    (wanted,) = FiniteDifference(STEP)(smooth_network(), images(), TARGET)
    relative = (found.double().to(CPU) - wanted).norm() / wanted.norm()
    assert relative <= 16 * torch.finfo(getattr(torch, arithmetic)).eps


def settings():
    """What torch says of its precision now; an error where its older and newer settings disagree."""
    backends = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    new = [own.fp32_precision for own in (*backends, torch.backends.mkldnn.matmul)]
    return [torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision(), *new]


@pytest.fixture
def short_products():
    """Let torch compute products in TF32 wherever it can, as many scripts do."""
    tf32, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture
def initialised(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)


@pytest.mark.usefixtures("short_products", "initialised")
def test_models_are_evaluated_in_full_precision_and_settings_are_put_back():
    before = settings()
    with evaluation():
        inside = settings()
        with evaluation():
            assert settings() == inside
        assert settings() == inside
    assert inside == [False, "highest", "ieee", "ieee", "ieee", "ieee"]
    assert settings() == before
    assert before[2:] == ["tf32", "tf32", "tf32", "bf16"]


@pytest.mark.usefixtures("short_products", "initialised")
def test_settings_are_put_back_when_the_last_thread_leaves():
    before, entered, leave = settings(), threading.Event(), threading.Event()

    def other():
        with evaluation():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with evaluation():
        thread.start()
        assert entered.wait(10)
    assert settings()[0] is False
    leave.set()
    thread.join()
    assert settings() == before


@pytest.mark.usefixtures("short_products", "initialised")
def test_tf32_is_used_where_it_is_asked_for():
    with allow_tf32(), evaluation():
        assert settings()[0] is True
        assert product_eps(torch.ones(1)) == EPS32
    with evaluation():
        assert settings()[0] is False


def test_settings_that_disagree_are_put_back_too(monkeypatch, initialised):
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # while allow_tf32, as torch sets it, says otherwise
    try:
        with evaluation():
            assert torch.backends.cudnn.rnn.fp32_precision == "ieee"
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.backends.cudnn.rnn.fp32_precision == "tf32"
    finally:
        torch.backends.cudnn.conv.fp32_precision = "tf32"


@pytest.mark.gpu
@pytest.mark.usefixtures("short_products")
def test_tf32_is_off_by_default_and_a_coarse_rounding_where_it_is_on():
    device = torch.device("cuda")
    network, points = smooth_network(torch.float32, device), images().float().to(device)
    (wanted,) = FiniteDifference(STEP)(smooth_network(), images(), TARGET)
    (full,) = FiniteDifference(STEP)(network, points, TARGET)
    assert (full.double().cpu() - wanted).abs().max() <= rounding(EPS32, STEP)
    with allow_tf32():
        assert product_eps(points) == TF32_EPS
        (short,) = FiniteDifference(STEP)(network, points, TARGET)
    assert (short.double().cpu() - wanted).abs().max() <= rounding(TF32_EPS, STEP)


class Recurrent(nn.Module):
    """A recurrent network whose last output is explained."""

    def __init__(self, kind, **options):
        super().__init__()
        self.recurrent = kind(4, 6, batch_first=True, **options)
        self.last = nn.Linear(6 * (1 + options.get("bidirectional", False)), 3)

    def forward(self, rows):
        return self.last(self.recurrent(rows)[0][:, -1])


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "dropout": 0.5}, {"bidirectional": True}])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@on_devices
def test_recurrent_networks_in_evaluation_mode_have_exact_gradients(device, kind, options):
    torch.manual_seed(0)
    network, rows = Recurrent(kind, **options).eval(), torch.randn(3, 5, 4, dtype=torch.float64)
    (wanted,) = ExactGradient()(network.double(), rows, 1)
    (found,) = ExactGradient()(network.float().to(device), rows.float().to(device), 1)
    assert (found.double().to(CPU) - wanted).abs().max() <= rounding(EPS32)
    assert torch.backends.cudnn.enabled


class LikeCudnn(torch.autograd.Function):
    """Refuses a backward pass while cuDNN is on, as cuDNN does."""

    @staticmethod
    def forward(context, rows):
        return rows.square()

    @staticmethod
    def backward(context, gradient):
        if torch.backends.cudnn.enabled:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return gradient * 2


def test_what_cudnn_refuses_is_differentiated_without_it():
    calls = []

    def model(rows):
        calls.append(torch.backends.cudnn.enabled)
        return LikeCudnn.apply(rows).sum(dim=1)

    ones = torch.ones(2, 3)
    assert torch.equal(ExactGradient(check_rows=False)(model, ones)[0], 2 * ones)
    assert calls[-1] is False
    assert torch.backends.cudnn.enabled
