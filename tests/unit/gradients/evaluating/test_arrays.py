"""Arrays and data frames: a caller's function gets what the caller uses, and the result is of the inputs' type."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from approxgrad import ApproxAttribution, FiniteDifference, attribute, choose_step
from approxgrad.gradients.evaluating.arrays import Given, TypedModel

ROWS = np.random.default_rng(0).normal(size=(5, 3))
LABELS = np.array([0, 1, 1, 0, 1])
WEIGHTS = np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]])
CENTRAL = FiniteDifference(0.01, "central")
# Of a linear function in float64: roundings of outputs of size 15, over the step.
CLOSE = {"rtol": 0, "atol": 100 * np.finfo(float).eps * 15 / 0.01}
# The same times x - b, which is below 5.
PATH = {"rtol": 0, "atol": 5 * CLOSE["atol"]}


def frame(rows=ROWS, **options):
    return pd.DataFrame(rows, columns=["age", "height", "width"], index=list("vwxyz"), **options)


def linear(seen):
    def predict(rows):
        seen.append(rows)
        return np.asarray(rows) @ WEIGHTS

    return predict


def test_a_function_of_arrays_is_called_with_arrays():
    seen = []
    found = attribute(linear(seen), ROWS, target=LABELS, method="gradient", gradient=CENTRAL)
    assert {(type(rows), rows.dtype.name) for rows in seen} == {(np.ndarray, "float64")}
    assert (type(found), found.dtype) == (np.ndarray, np.float64)
    np.testing.assert_allclose(found, WEIGHTS.T[LABELS], **CLOSE)


def test_a_function_of_data_frames_is_called_with_data_frames():
    seen = []
    own = frame()
    found = attribute(linear(seen), own, target=LABELS, method="input_x_gradient", gradient=CENTRAL)
    assert {(type(rows), *rows.columns) for rows in seen} == {(pd.DataFrame, "age", "height", "width")}
    pd.testing.assert_frame_equal(found, own * WEIGHTS.T[LABELS], rtol=0, atol=5 * CLOSE["atol"])


def test_a_model_that_returns_data_frames_and_series():
    own = frame()
    found = attribute(lambda rows: rows["age"] * 3, own, method="gradient", gradient=CENTRAL)
    np.testing.assert_allclose(found, [[3.0, 0, 0]] * 5, **CLOSE)
    found = attribute(lambda rows: rows.rename(columns=str.upper), own, target=2, method="gradient", gradient=CENTRAL)
    np.testing.assert_allclose(found, [[0, 0, 1.0]] * 5, **CLOSE)


@pytest.mark.parametrize("wrapped", [lambda net: net, lambda net: net.forward], ids=["module", "method"])
@pytest.mark.parametrize("gradient", ["exact", FiniteDifference(0.01)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_is_given_tensors_of_its_own_type(wrapped, gradient, dtype):
    torch.manual_seed(0)
    network = nn.Linear(3, 2).to(dtype)
    expected = attribute(network, torch.from_numpy(ROWS).to(dtype), target=1, gradient=gradient)
    for own in (ROWS, frame()):
        found = attribute(wrapped(network), own, target=1, gradient=gradient)
        assert type(found) is type(own)
        assert np.array_equal(found, expected.double().numpy())


def test_a_model_that_says_its_type_is_given_tensors_of_it():
    class Own(TypedModel):
        dtype = np.dtype(np.float32)

        def __call__(self, inputs):
            assert isinstance(inputs, torch.Tensor)
            assert inputs.dtype == torch.float32
            return inputs.double() @ torch.from_numpy(WEIGHTS)

    found = attribute(Own(), frame(), target=0, method="gradient", gradient=FiniteDifference(0.25))
    assert set(found.dtypes) == {np.dtype(np.float64)}
    # A step of float32 is made exactly, and divided by as it was made.
    np.testing.assert_allclose(found, np.tile(WEIGHTS[:, 0], (5, 1)), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"^inputs: 1e\+300 is beyond the range of float32, which the model takes$"):
        attribute(Own(), frame() * 0 + 1e300, target=0, gradient=CENTRAL)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "i8", ">i4", "u1", "?"])
def test_arrays_of_every_type_come_back_in_it(dtype):
    rows = (ROWS * 3 > 1).astype(dtype) if dtype == "?" else np.abs(ROWS * 3).astype(dtype)
    rows.flags.writeable = False
    expected = rows.dtype if rows.dtype.kind == "f" else np.float64
    found = attribute(lambda x: np.asarray(x, float) @ WEIGHTS, rows, target=0, gradient=FiniteDifference(0.5))
    assert found.dtype == expected
    np.testing.assert_allclose(found.astype(float), np.abs(np.tile(WEIGHTS[:, 0], (5, 1))), rtol=2e-3)


@pytest.mark.parametrize(
    "rows",
    [ROWS[::-1], ROWS[:, ::-1], np.asfortranarray(ROWS), np.repeat(ROWS, 2, axis=1)[:, ::2], ROWS[:1], ROWS.copy()],
)
def test_any_layout_is_read_and_nothing_is_written_to_it(rows):
    before = rows.copy()
    found = attribute(lambda x: x @ WEIGHTS, rows, target=1, method="input_x_gradient", gradient=CENTRAL)
    assert np.array_equal(rows, before)
    np.testing.assert_allclose(found, before * WEIGHTS[:, 1], rtol=0, atol=5 * CLOSE["atol"])


@pytest.mark.parametrize(
    "change",
    [
        lambda own: own.astype("Float64"),
        lambda own: own.astype("double[pyarrow]"),
        lambda own: own.round().astype("int64"),
        lambda own: own.round().astype("Int64"),
        lambda own: own.round().astype("int16[pyarrow]"),
        lambda own: own > 0,
        lambda own: (own > 0).astype("boolean"),
        lambda own: own.astype({"age": "float32"}),
        lambda own: own.round().astype({"age": "Int8", "height": "float32"}),
        lambda own: own.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), axis=1),
        lambda own: own.set_axis([7, 8, 9], axis=1),
        lambda own: own.set_axis(["a", "a", "b"], axis=1),
        lambda own: own.astype(pd.SparseDtype(float, 0.0)),
        lambda own: own.set_index(pd.date_range("2026-01-01", periods=5)),
    ],
)
def test_numbers_of_every_type_of_column_are_taken(change):
    own = change(frame())
    values = np.array(own.to_numpy().tolist(), float)
    found = attribute(lambda x: x.to_numpy() @ WEIGHTS, own, target=0, method="input_x_gradient", gradient=CENTRAL)
    assert found.index.equals(own.index)
    assert found.columns.equals(own.columns)
    assert {kind.kind for kind in found.dtypes} == {"f"}
    np.testing.assert_allclose(found, values * WEIGHTS[:, 0], rtol=0, atol=5 * CLOSE["atol"])


def test_columns_of_float32_stay_float32():
    found = attribute(
        lambda x: x.to_numpy() @ WEIGHTS, frame().astype("float32"), target=0, gradient=FiniteDifference(0.5)
    )
    assert set(found.dtypes) == {np.dtype(np.float32)}


BAD = [
    (
        lambda own: own.assign(height="tall"),
        TypeError,
        "inputs: column 'height' holds (str|object), expected numbers; convert",
    ),
    (lambda own: own.astype({"age": object}), TypeError, "inputs: column 'age' holds object, expected numbers"),
    (lambda own: own.assign(age=pd.Categorical(list("abcab"))), TypeError, "column 'age' holds category, expected num"),
    (lambda own: own.assign(age=pd.Timestamp("2026-01-01")), TypeError, r"column 'age' holds datetime64\[\w+\], expec"),
    (lambda own: own.assign(age=pd.Timedelta("1s")), TypeError, r"column 'age' holds timedelta64\[\w+\], expected"),
    (
        lambda own: own.assign(age=1j),
        TypeError,
        "column 'age' holds complex128, expected real numbers of up to 64 bits",
    ),
    (
        lambda own: own.assign(width=[1, 2, None, 3, 4]),
        ValueError,
        r"column 'width' is missing \(NaN\) in row 'x'; fill",
    ),
    (lambda own: own.astype("Float64").mask(own > 0), ValueError, r"column '\w+' is missing \(NaN\) in row"),
    (
        lambda own: own.assign(age=2**60 + 1),
        ValueError,
        "column 'age' holds 1152921504606846977, which float64 does not",
    ),
    (lambda own: own.assign(age=np.inf), ValueError, "inputs: row 0 holds NaN or infinite values"),
    (lambda own: own.iloc[:0], ValueError, "inputs: expected shape .* with at least one element"),
    (lambda own: own.iloc[:, :0], ValueError, "inputs: expected shape .* with at least one element"),
    (lambda own: own["age"], TypeError, "inputs: expected a tensor, an array or a pandas DataFrame, got pandas.Series"),
    (
        lambda own: own.to_numpy().tolist(),
        TypeError,
        "inputs: expected a tensor, an array or a pandas DataFrame, got list",
    ),
    (lambda own: own.to_numpy().astype(str), TypeError, r"inputs: holds <U\d+, expected real numbers"),
    (lambda own: own.to_numpy().astype(object), TypeError, r"inputs: holds object, .* convert it with astype\(float\)"),
    (
        lambda own: own.to_numpy().astype(np.longdouble),
        TypeError,
        "inputs: holds float128, expected real numbers of up",
    ),
    (lambda own: np.ma.masked_greater(own.to_numpy(), 0), ValueError, "inputs: has masked values; fill them first"),
    (lambda own: np.array(1.0), ValueError, "inputs: expected shape"),
    (lambda own: np.full((2, 3), np.nan), ValueError, "inputs: row 0 holds NaN or infinite values"),
    (lambda own: np.full((2, 3), 2**63 + 1, np.uint64), ValueError, "inputs: holds 9223372036854775809, which float64"),
]


@pytest.mark.parametrize(("change", "error", "says"), BAD)
@pytest.mark.parametrize("call", [attribute, choose_step])
def test_inputs_that_are_no_numbers_are_one_line(call, change, error, says):
    with pytest.raises(error, match=f"^(inputs: )?{says}") as caught:
        call(
            lambda x: np.asarray(x).sum(axis=1), change(frame()), **({"gradient": CENTRAL} if call is attribute else {})
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "form",
    [
        lambda labels: labels,
        lambda labels: labels.astype(np.uint8),
        lambda labels: labels.astype(">i4"),
        lambda labels: labels[:, None],
        lambda labels: pd.Series(labels, index=list("vwxyz")),
        lambda labels: pd.Series(labels, index=list("vwxyz"), dtype="Int8"),
        lambda labels: pd.Index(labels),
        lambda labels: labels.tolist(),
        lambda labels: torch.from_numpy(labels),
    ],
)
def test_targets_are_taken_in_every_form(form):
    before = LABELS.copy()
    found = attribute(
        lambda x: np.asarray(x) @ WEIGHTS, frame(), target=form(LABELS), method="gradient", gradient=CENTRAL
    )
    np.testing.assert_allclose(found, WEIGHTS.T[LABELS], **CLOSE)
    assert np.array_equal(LABELS, before)


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        (np.array(["a", "b"] * 2 + ["a"]), TypeError, "target: expected integers, got <U1"),
        (LABELS.astype(float), TypeError, "target: expected integers, got float64"),
        (LABELS > 0, TypeError, "target: expected integers, got bool"),
        (pd.Series([0, None, 1, 1, 1], list("vwxyz"), dtype="Int8"), TypeError, "target: expected integers, got"),
        (
            pd.Series(LABELS),
            ValueError,
            r"target: the index is not that of the inputs; order it with \.loc\[inputs\.index\]",
        ),
        (LABELS[:3], ValueError, "target: expected one target or 5, got shape"),
        (LABELS + 1, ValueError, r"target: \[2\] is out of range"),
    ],
)
def test_targets_that_do_not_fit_are_one_line(target, error, says):
    with pytest.raises(error, match=f"^{says}"):
        attribute(lambda x: np.asarray(x) @ WEIGHTS, frame(), target=target, gradient=CENTRAL)


MEAN = frame().mean()


@pytest.mark.parametrize(
    "baselines",
    [
        MEAN,
        MEAN.iloc[::-1],
        MEAN.to_numpy(),
        MEAN.to_numpy()[None],
        MEAN.to_frame().T,
        MEAN.iloc[::-1].to_frame().T,
        frame() * 0 + MEAN,
        torch.tensor(MEAN.tolist(), dtype=torch.float64),
    ],
)
def test_baselines_are_taken_in_every_form_and_by_column(baselines):
    options = {"method": "integrated_gradients", "gradient": CENTRAL, "target": LABELS, "n_steps": 3}
    found = attribute(lambda x: x.to_numpy() @ WEIGHTS, frame(), baselines=baselines, **options)
    pd.testing.assert_frame_equal(found, (frame() - MEAN) * WEIGHTS.T[LABELS], **PATH)


@pytest.mark.parametrize(
    ("baselines", "says"),
    [
        (
            MEAN.rename({"age": "years"}),
            "baselines: are for 'years', 'height', 'width', expected the columns of the inputs",
        ),
        (MEAN.iloc[:2], "baselines: are for 'age', 'height', expected the columns"),
        ((frame() * 0).reset_index(drop=True), "baselines: the index is not that of the inputs"),
        (MEAN.mask(MEAN.iloc[0] == MEAN), r"baselines: is missing \(NaN\) in row"),
        (np.zeros(4), r"baselines: shape \(4,\) does not broadcast"),
    ],
)
def test_baselines_that_do_not_fit_are_one_line(baselines, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        attribute(
            lambda x: x.to_numpy() @ WEIGHTS,
            frame(),
            target=0,
            method="integrated_gradients",
            baselines=baselines,
            gradient=CENTRAL,
        )


@pytest.mark.parametrize("own", [ROWS, frame()], ids=["array", "frame"])
def test_a_step_is_chosen_as_for_tensors(own):
    rows = torch.from_numpy(ROWS)
    weights = torch.from_numpy(WEIGHTS)
    expected = choose_step(lambda x: torch.exp(x) @ weights, rows, torch.from_numpy(LABELS), baselines=0.5, n_steps=3)
    found = choose_step(lambda x: np.exp(np.asarray(x)) @ WEIGHTS, own, LABELS, baselines=np.full(3, 0.5), n_steps=3)
    assert found.regime == expected.regime == "smooth"
    assert found.step == pytest.approx(expected.step, rel=0.5)


def test_a_caller_of_tensors_may_have_arrays_beside_them():
    rows = torch.from_numpy(ROWS)
    options = {"method": "integrated_gradients", "gradient": CENTRAL, "n_steps": 3}
    found = attribute(lambda x: x @ torch.from_numpy(WEIGHTS), rows, target=LABELS, baselines=np.ones(3), **options)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found, (ROWS - 1) * WEIGHTS.T[LABELS], **PATH)


def test_a_result_beyond_the_inputs_range_is_refused():
    with pytest.raises(ValueError, match=r"^gradient: beyond the range of float16"):
        attribute(
            nn.Linear(3, 1).double().requires_grad_(False).apply(lambda part: part.weight.fill_(1e6)),
            ROWS.astype(np.float16),
        )


def test_tensors_and_their_models_are_passed_on():
    rows, model = torch.ones(2, 3), len
    given = Given(model, rows)
    assert (given.inputs is rows, given.model is model, given.returned(rows) is rows) == (True, True, True)


@pytest.mark.parametrize("own", [ROWS, frame()], ids=["array", "frame"])
def test_the_original_interface_takes_them(own):
    found = ApproxAttribution(lambda x: np.asarray(x) @ WEIGHTS).grad_x_i_approx(0.01, own, target=1)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, (ROWS * WEIGHTS[:, 1]).ravel(), rtol=0, atol=5 * CLOSE["atol"])
