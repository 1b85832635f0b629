import pytest
import torch

from approxgrad import ApproxAttribution
from problems import difference_rounding, magnitude, points, small_cnn, softplus_mlp

STEP, N_STEPS = 0.25, 4
ROWS = points(3, 4, dtype=torch.float32)
IMAGES = points(3, 2, 4, 4, dtype=torch.float32)
MLP, CNN = softplus_mlp().float(), small_cnn(torch.float32)
FORMS = {
    "batch of rows": (MLP, ROWS, ROWS),
    "list of rows": (MLP, ROWS, list(ROWS)),
    "list of batches of rows": (MLP, ROWS, list(ROWS.split(1))),
    "batch of images": (CNN, IMAGES, IMAGES),
    "list of images": (CNN, IMAGES, list(IMAGES.split(1))),
}
METHODS = ["grad_approx", "grad_x_i_approx", "int_grad_approx"]


def elementwise(method, model, x, target, b=0.0):
    """Return the original's formula for every feature of every input, one evaluation at a time."""
    values = []
    for point, t in zip(x, target, strict=True):
        for i in range(point.numel()):
            unit = torch.zeros(point.numel())
            unit[i] = STEP
            shifted = point + unit.view(point.shape)
            bi = b.flatten()[i] if isinstance(b, torch.Tensor) else b
            xi = point.flatten()[i]
            with torch.no_grad():
                if method == "int_grad_approx":
                    total = 0
                    for k in range(1, N_STEPS + 1):
                        a = k / N_STEPS
                        ends = model((bi + a * (shifted - bi))[None])[0, t], model((bi + a * (point - bi))[None])[0, t]
                        total = total + (ends[0] - ends[1]) / STEP
                    values.append((xi - bi) * total / N_STEPS)
                else:
                    slope = (model(shifted[None])[0, t] - model(point[None])[0, t]) / STEP
                    values.append(slope.abs() if method == "grad_approx" else xi * slope)
    return torch.stack(values)


def call(method, model, x, *, b=None, **arguments):
    options = {"riemann_step": N_STEPS} if method == "int_grad_approx" else {}
    if b is not None:
        options["baseline"] = b
    return getattr(ApproxAttribution(model), method)(h=STEP, X=x, **options, **arguments)


def tolerance(model, x):
    # eps |f| / h as derived there, times a factor x - b below 4.
    return 4 * difference_rounding(magnitude(model, x), STEP, torch.float32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("arguments", "target"),
    [({}, [0, 0, 0]), ({"target": 2}, [2, 2, 2]), ({"target": [2, 0, 1]}, [2, 0, 1])],
    ids=["default", "number", "list"],
)
def test_every_form_of_call_equals_the_loop(method, form, arguments, target):
    model, batch, x = FORMS[form]
    result = call(method, model, x, **arguments)
    assert result.shape == (batch.numel(),)
    assert result.dtype == torch.float32
    expected = elementwise(method, model, batch, target)
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance(model, batch))
    assert expected.abs().max() > 10 * tolerance(model, batch)


@pytest.mark.parametrize(("model", "batch"), [(MLP, ROWS), (CNN, IMAGES)], ids=["rows", "images"])
@pytest.mark.parametrize("form", ["number", "one input", "batch of one"])
def test_baselines(model, batch, form):
    one = points(*batch.shape[1:], dtype=torch.float32, seed=1)
    b = {"number": 0.5, "one input": one, "batch of one": one[None]}[form]
    result = call("int_grad_approx", model, batch, b=b, target=1)
    expected = elementwise("int_grad_approx", model, batch, [1, 1, 1], b)
    scale = torch.cat([batch, torch.full_like(batch[:1], 2), torch.full_like(batch[:1], -2)])
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance(model, scale))


def test_fifty_steps_and_a_zero_baseline_are_the_default():
    explainer = ApproxAttribution(MLP)
    assert torch.equal(explainer.int_grad_approx(STEP, ROWS), explainer.int_grad_approx(STEP, ROWS, 0, 50, 0))


@pytest.mark.parametrize("method", METHODS)
def test_a_regressor_has_no_target(method):
    result = call(method, lambda x: x.sum(dim=1), ROWS, target=None)
    with_axis = call(method, lambda x: x.sum(dim=1, keepdim=True), ROWS)
    assert torch.equal(result, with_axis)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([], TypeError, "X: expected a batch, or a list of tensors"),
        ([[1.0, 2.0]], TypeError, "X: expected a batch, or a list of tensors"),
        ([ROWS[0], ROWS[0, :2]], ValueError, r"X: expected inputs of one shape, got \[\(2,\), \(4,\)\]"),
        (ROWS.long(), TypeError, "inputs: expected floating-point numbers"),
    ],
)
def test_invalid_inputs_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        ApproxAttribution(MLP).grad_approx(STEP, x)
