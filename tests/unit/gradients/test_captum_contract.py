"""captum's methods take their gradient from the undocumented attribute `gradient_func`: what the package relies on."""

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import nn

from approxgrad import ExactGradient, FiniteDifference
from problems import difference_rounding, magnitude, points, softplus_mlp, softplus_third_derivative

STEP = 1e-5
N_STEPS = 20
METHODS = {Saliency: {}, InputXGradient: {}, IntegratedGradients: {"n_steps": N_STEPS, "baselines": 0.25}}


class Spy:
    """A gradient source that keeps its arguments."""

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
    # A central difference is off by h^2 / 6 max|f'''| and half of `difference_rounding`, because it divides by 2 h.
    # Saliency passes this on; the others multiply it by |x - b| < 4, as the weights of the path are positive and sum to
    # one.
    gradient_error = STEP**2 / 6 * softplus_third_derivative(model) + difference_rounding(magnitude(model, x), STEP) / 2
    bound = gradient_error * (1 if method is Saliency else 4)
    torch.testing.assert_close(approximated, exact, rtol=0, atol=bound)
    assert exact.abs().max() > 1e4 * bound  # so that the agreement is informative


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


RANDOM_METHODS = {
    "GradientShap": (GradientShap, {"baselines": points(6, 4, seed=1), "n_samples": 7}),
    **{
        f"NoiseTunnel over {method.__name__}, {kind}": (
            lambda model, method=method: NoiseTunnel(method(model)),
            {"nt_type": kind, "nt_samples": 5, "stdevs": 0.1, **METHODS[method]},
        )
        for method in METHODS
        for kind in ("smoothgrad", "vargrad")
    },
}


@pytest.mark.parametrize(("make", "options"), RANDOM_METHODS.values(), ids=RANDOM_METHODS)
def test_methods_that_draw_numbers_take_a_source_too(make, options):
    model, x = softplus_mlp(), points(4, 4)
    source, results = FiniteDifference(STEP, "central"), []
    for gradient in (None, source):
        explainer = make(model)
        if gradient is not None:
            getattr(explainer, "attribution_method", explainer).gradient_func = gradient
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - captum draws from it
        results.append(explainer.attribute(x.clone(), target=1, **options).detach())
    assert source.used_batch_size is not None
    # Gradients are as close as those above; variances and products with inputs are below ten times as far apart.
    gradient_error = STEP**2 / 6 * softplus_third_derivative(model) + difference_rounding(magnitude(model, x), STEP) / 2
    bound = 10 * 4 * gradient_error
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=bound)
    assert results[0].abs().max() > 100 * bound


def rectifiers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution", "DeepLift", "DeepLiftShap", "LRP"])
def test_methods_that_change_the_gradient_inside_the_model_are_refused(name):
    model, x = rectifiers(), torch.randn(4, 4)
    explainer = getattr(captum.attr, name)(model)
    explainer.gradient_func = FiniteDifference(0.01)
    options = {"baselines": torch.zeros(3, 4)} if name == "DeepLiftShap" else {}
    with pytest.raises(
        ValueError, match=r"^gradient: .* changes the gradient inside the model.*NoiseTunnel over these"
    ):
        explainer.attribute(x, target=1, **options)
    FiniteDifference(0.01)(model, x, 1)  # captum has taken its hooks away again


@pytest.mark.parametrize("name", ["LayerIntegratedGradients", "LayerGradCam", "LayerConductance", "InternalInfluence"])
def test_methods_of_layers_ask_no_source(name):
    model, spy = rectifiers(), Spy(FiniteDifference(0.01))
    explainer = getattr(captum.attr, name)(model, model[0])
    explainer.gradient_func = spy
    explainer.attribute(torch.randn(4, 4), target=1)
    assert spy.calls == []
