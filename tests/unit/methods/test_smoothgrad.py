"""SmoothGrad over any gradient source."""

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.source import exact_source
from approxgrad.methods.method import METHODS
from small_studies import DEFAULT, difference, entry, key, study


def cubes(points):
    return (points**3).sum(dim=1, keepdim=True)


def inputs(rows=4):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, 3)))


def smooth(gradient="exact", sigma=0.3, n_samples=4000, points=None, **options):
    x = inputs() if points is None else points
    return attribute(cubes, x, method="smoothgrad", gradient=gradient, sigma=sigma, n_samples=n_samples, **options)


def test_the_mean_slope_of_cubes_is_known():
    """The gradient 3 x^2 becomes 3 (x^2 + sigma^2); n draws are off by 3 sigma sqrt((4 x^2 + 2 sigma^2) / n)."""
    x, sigma, count = inputs(), 0.3, 4000
    error = 3 * sigma * (4 * x**2 + 2 * sigma**2).sqrt() / count**0.5
    assert ((smooth() - 3 * (x**2 + sigma**2)).abs() < 4 * error).all()
    assert ((smooth() - 3 * x**2).abs() > 2 * error).any()


def test_it_is_what_captum_computes_with_other_draws():
    torch.manual_seed(0)
    x = inputs().requires_grad_()
    theirs = NoiseTunnel(Saliency(cubes)).attribute(
        x, nt_type="smoothgrad", nt_samples=4000, stdevs=0.3, target=0, abs=False
    )
    # Two means of 4,000 draws each.
    error = 3 * 0.3 * (4 * x.detach() ** 2 + 2 * 0.3**2).sqrt() / 4000**0.5
    assert ((smooth() - theirs).abs() < 6 * error).all()


def test_sources_see_the_same_noise():
    """A central difference of cubes is off by h^2 at every point, so the difference of the means is as well."""
    step = 0.01
    own, exact = smooth(FiniteDifference(step, "central"), n_samples=7), smooth(n_samples=7)
    assert (own - exact).numpy() == pytest.approx(step**2, rel=1e-4)


def test_maps_do_not_depend_on_the_other_rows():
    x = inputs(5)
    whole = smooth(n_samples=5, points=x)
    torch.testing.assert_close(smooth(n_samples=5, points=x[3:]), whole[3:], rtol=0, atol=0)
    assert (smooth(n_samples=5, points=x, seed=1) != whole).any()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"n_samples": 0}, ValueError),
        ({"n_samples": -3}, ValueError),
        ({"n_samples": 2.0}, TypeError),
        ({"seed": -1}, ValueError),
        ({"sigma": 0.0}, ValueError),
        ({"sigma": -0.1}, ValueError),
        ({"sigma": float("nan")}, ValueError),
        ({"sigma": "0.1"}, ValueError),
    ],
    ids=str,
)
def test_options_that_say_nothing_are_refused(options, error):
    with pytest.raises(error, match=f"^{next(iter(options))}: expected a"):
        smooth(**options)


def test_a_map_costs_a_gradient_for_each_copy():
    own = METHODS["smoothgrad"](sigma=0.1, n_samples=20)
    assert own.evaluations(exact_source("float32"), (12,)) == 20
    assert own.title == "SmoothGrad (noise 0.1)"


def test_a_difference_is_compared_with_the_exact_smooth_gradient():
    methods = DEFAULT["methods"] | {
        "smooth": {"attribution": "smoothgrad", "sigma": 0.1},
        "near": {"attribution": "gradient", "reference": "smooth"},
    }
    own = study(entry(difference(steps=[0.5]), methods=["near"]), methods=methods)
    assert [key(cell)[2:] for cell in own.cells] == [("smooth", "exact"), ("near", "forward-h0.5")]
    assert own.comparisons == [("synthetic_linear", "mlp", "near")]
    assert [cell.method for cell in own.references("synthetic_linear", "mlp", "near")] == ["smooth"]
    # Nothing is computed again for another reference.
    assert own.method("near").entry == {"attribution": "gradient"}
