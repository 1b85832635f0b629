import pytest
import torch

from approxgrad import FiniteDifference, attribute
from problems import (
    RecordingModel,
    difference_rounding,
    exact_gradient,
    magnitude,
    points,
    small_cnn,
    softplus_mlp,
    softplus_third_derivative,
)

N_STEPS = 5
VECTOR = (softplus_mlp(), points(3, 4), [2, 0, 1])
IMAGE = (small_cnn(), points(2, 2, 4, 4), [2, 0])
BASELINES = {
    "zero": lambda x: 0,
    "number": lambda x: 0.75,
    "one input": lambda x: points(*x.shape[1:], seed=1),
    "few values": lambda x: points(*x.shape[1:], seed=1).sign() / 2,
    "row by row": lambda x: points(*x.shape, seed=1),
}


def published(model, x, target, gradient, baselines, n_steps=N_STEPS):
    return attribute(
        model,
        x,
        target=target,
        method="integrated_gradients_published",
        gradient=gradient,
        baselines=baselines,
        n_steps=n_steps,
    )


def elementwise(model, x, target, baselines, term):
    """Return (x_i - b_i) / n * sum_k term(k / n, f_t, x, b_i, e_i) for every element on its own."""
    references = torch.as_tensor(baselines, dtype=x.dtype).expand(x.shape)
    result = torch.zeros(x.shape, dtype=torch.float64).flatten(1)
    for row in range(len(x)):

        def output(z, row=row):
            with torch.no_grad():
                return model(z[None])[0] if target is None else model(z[None])[0, target[row]]

        for i in range(x[row].numel()):
            unit = torch.zeros(x[row].numel(), dtype=x.dtype)
            unit[i] = 1
            b = references[row].flatten()[i]
            total = sum(term(k / N_STEPS, output, x[row], b, unit.view(x[row].shape)) for k in range(1, N_STEPS + 1))
            result[row, i] = (x[row].flatten()[i] - b) * total / N_STEPS
    return result.view(x.shape)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("step", [0.5, 1e-3])
@pytest.mark.parametrize("problem", [VECTOR, IMAGE], ids=["vector", "image"])
def test_the_variant_equals_its_formula(problem, step, baseline):
    model, x, target = problem
    b = BASELINES[baseline](x)

    def term(a, f, point, bi, unit):
        return (f(bi + a * (point + step * unit - bi)) - f(bi + a * (point - bi))) / step

    # The factor x_i - b_i is below 4; outputs on the paths are as large as those at x and at the vectors b_i at most.
    scale = magnitude(model, torch.cat([x, torch.full_like(x[:1], 2), torch.full_like(x[:1], -2)]))
    result = published(model, x, target, FiniteDifference(step), b)
    expected = elementwise(model, x, target, b, term)
    torch.testing.assert_close(result, expected, rtol=0, atol=4 * difference_rounding(scale, step))


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("problem", [VECTOR, IMAGE], ids=["vector", "image"])
def test_its_limit_weighs_the_gradient_at_path_point_k_by_k_over_n(problem, baseline):
    model, x, target = problem
    b = BASELINES[baseline](x)
    targets = iter(target)
    rows = []
    for row in range(len(x)):
        chosen = [next(targets)]

        def term(a, _, point, bi, unit, chosen=chosen):
            return a * (exact_gradient(model, (bi + a * (point - bi))[None], chosen)[0] * unit).sum()

        one = b[row : row + 1] if baseline == "row by row" else b
        rows.append(elementwise(model, x[row : row + 1], [0], one, term))
    limit = torch.cat(rows)
    # The exact source gives the limit, up to 64 roundings of terms that are below ten times the largest result.
    rounding = 64 * torch.finfo(x.dtype).eps * 10 * float(limit.abs().max())
    torch.testing.assert_close(published(model, x, target, "exact", b), limit, rtol=0, atol=rounding)
    if model is VECTOR[0]:
        step = 1e-4
        bound = step**2 / 6 * softplus_third_derivative(model) + difference_rounding(magnitude(model, x), step)
        result = published(model, x, target, FiniteDifference(step, "central"), b)
        torch.testing.assert_close(result, limit, rtol=0, atol=4 * bound)
        assert limit.abs().max() > 1e4 * bound


def test_a_linear_model_loses_part_of_its_effect():
    # sum_k k / n^2 = (n + 1) / (2 n) of the true effect w (x - b), which Integrated Gradients give in full.
    x, weights = points(4, 3), torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)
    result = published(lambda z: z @ weights, x, None, FiniteDifference(0.5), 0.5, n_steps=2)
    assert torch.equal(result, 0.75 * weights * (x - 0.5))


@pytest.mark.parametrize(("baseline", "values"), [("zero", 1), ("number", 1), ("few values", 2), ("one input", 4)])
def test_the_cost_is_one_base_for_each_distinct_value(baseline, values):
    x = points(3, 4)
    model, b = RecordingModel(lambda z: (z**2).sum(dim=1)), BASELINES[baseline](x)
    assert torch.as_tensor(b).unique().numel() == values
    source = FiniteDifference(0.5, batch_size=1000, check_rows=False)
    published(model, x, None, source, b)
    assert len(model.rows) == 3 * N_STEPS * (4 + values)


def test_outputs_with_several_axes_have_their_own_targets():
    x, target = points(3, 4), [(0, 2), (1, 0), (0, 1)]
    model = softplus_mlp(outputs=6)
    flat = [3 * i + k for i, k in target]
    for name, baseline in BASELINES.items():
        gradient = FiniteDifference(0.5)
        result = published(lambda z: model(z).view(-1, 2, 3), x, target, gradient, baseline(x))
        assert torch.equal(result, published(model, x, flat, gradient, baseline(x))), name


def test_outputs_are_averaged_in_float64():
    # Every output is a multiple of 1/64 of size 2^17, so exact in float32; their sum is not, with steps of 1/16 there.
    x = points(3, 4, dtype=torch.float32).requires_grad_()
    result = published(
        lambda z: z.detach().numpy().sum(axis=1) + 2**17, x, None, FiniteDifference(1 / 16), 0, n_steps=4
    )
    assert (result.dtype, result.requires_grad, x.grad) == (torch.float32, False, None)
    assert torch.equal(result, 0.625 * x.detach())  # (n + 1) / (2 n)
