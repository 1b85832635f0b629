"""captum's methods take their gradient from the undocumented attribute `gradient_func`: what the package relies on."""

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency

from approxgrad import ExactGradient, FiniteDifference
from problems import difference_rounding, magnitude, points, softplus_mlp, softplus_third_derivative

STEP = 1e-5
N_STEPS = 20
METHODS = {Saliency: {}, InputXGradient: {}, IntegratedGradients: {"n_steps": N_STEPS, "baselines": 0.25}}


class Spy:
    """A gradient source that keeps what it was called with."""

    def __init__(self, source) -> None:
        self.source = source
        self.calls: list[dict] = []

    def __call__(self, forward_fn, inputs, target_ind=None, additional_forward_args=None):
        self.calls.append({"inputs": inputs, "target": target_ind, "additional": additional_forward_args})
        return self.source(forward_fn, inputs, target_ind, additional_forward_args)


def attribution(method, model, x, target, source=None, **options):
    explainer = method(model)
    if source is not None:
        explainer.gradient_func = source
    return explainer.attribute(x.clone().requires_grad_(), target=target, **METHODS[method], **options).detach()


@pytest.mark.parametrize("target", [1, [2, 0, 1, 1], torch.tensor([2, 0, 1, 1])])
@pytest.mark.parametrize("method", METHODS)
def test_approximated_attributions_agree_with_exact_ones(method, target):
    model, x = softplus_mlp(), points(4, 4)
    exact = attribution(method, model, x, target)
    approximated = attribution(method, model, x, target, FiniteDifference(STEP, "central"))
    # A central difference is off by h^2 / 6 max|f'''| and by half of `difference_rounding`, as it divides by 2 h.
    # Saliency passes this on; the others multiply it by |x - b| < 4, as the weights of the path are positive and sum to
    # one.
    gradient_error = STEP**2 / 6 * softplus_third_derivative(model) + difference_rounding(magnitude(model, x), STEP) / 2
    bound = gradient_error * (1 if method is Saliency else 4)
    torch.testing.assert_close(approximated, exact, rtol=0, atol=bound)
    assert exact.abs().max() > 1e4 * bound  # the agreement says something


@pytest.mark.parametrize("method", METHODS)
def test_the_exact_source_gives_captums_own_attributions(method):
    model, x = softplus_mlp(), points(4, 4)
    own, ours = (
        attribution(method, model, x, [2, 0, 1, 1], source) for source in (None, ExactGradient(batch_size=10**6))
    )
    assert torch.equal(ours, own)


@pytest.mark.parametrize("method", METHODS)
def test_the_source_is_called_once_with_rows_on_the_first_axis(method):
    model, x = softplus_mlp(), points(4, 4)
    spy = Spy(FiniteDifference(STEP))
    attribution(method, model, x, torch.tensor([2, 0, 1, 1]), spy, additional_forward_args=None)
    (call,) = spy.calls
    copies = N_STEPS if method is IntegratedGradients else 1
    assert [tensor.shape for tensor in call["inputs"]] == [(4 * copies, 4)]
    assert call["target"].tolist() == [2, 0, 1, 1] * copies
    assert call["additional"] is None


def test_integrated_gradients_asks_for_the_gauss_legendre_points_of_the_straight_line():
    x, spy = points(4, 4), Spy(FiniteDifference(STEP))
    attribution(IntegratedGradients, softplus_mlp(), x, 0, spy)
    nodes = (np.polynomial.legendre.leggauss(N_STEPS)[0] + 1) / 2
    path = 0.25 + torch.from_numpy(nodes)[:, None, None] * (x - 0.25)
    # Nodes and points each pass a handful of roundings of numbers below 4.
    torch.testing.assert_close(spy.calls[0]["inputs"][0].detach(), path.flatten(0, 1), rtol=0, atol=8 * 2.3e-16 * 4)


def test_additional_arguments_are_repeated_along_the_path():
    x, factor, spy = points(4, 4), points(4, 1, seed=1), Spy(FiniteDifference(0.5))
    explainer = IntegratedGradients(lambda batch, f: (batch * f).sum(dim=1))
    explainer.gradient_func = spy
    result = explainer.attribute(x, additional_forward_args=(factor,), n_steps=N_STEPS)
    assert [len(argument) for argument in spy.calls[0]["additional"]] == [4 * N_STEPS]
    # The weights of the path are float32, each off by at most half an ulp, and add up to one.
    torch.testing.assert_close(result, factor * x, rtol=torch.finfo(torch.float32).eps, atol=0)
