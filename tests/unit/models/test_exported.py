"""Networks of a study exported to ONNX files, quantised, and in half precision."""

import re

import numpy as np
import pytest
import torch

from approxgrad.descriptions import read
from approxgrad.gradients.evaluating.rows import RowError, check_rows
from approxgrad.models.exporting import plain_model, write_onnx
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.making import made_model
from approxgrad.models.model_files import build_model
from approxgrad.models.onnx_model import OnnxModel
from approxgrad.models.quantising import drawn_rows, write_static
from approxgrad.models.saved import save_model
from approxgrad.storage.splits import Split
from small_studies import DEFAULT, difference, entry, faults, study

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

CPU = torch.device("cpu")
CNN = {"input_shape": [1, 8, 8], "outputs": 10, "architecture": "cnn"}
MLP = {"input_shape": [6], "outputs": 3, "architecture": "mlp", "hidden": [4], "dropout": 0.0}
# Largest relative difference of the outputs: rounding to 24, 11 and 8 bits, times a few layers that add up, and to
# steps of the range over 255 or, for the weights alone, over 127.
LARGEST = {
    "onnx": 1e-5,
    "float16": 4 * 2**-11,
    "bfloat16": 4 * 2**-8,
    "int16-static": 4 / 127,
    "int8-static": 4 / 127 + 4 / 255,
    "int8-dynamic": 4 / 127 + 4 / 255,
}


def kind(form="onnx", **options):
    return read(MODELS["exported"], {"exported": {"of": "net", "as": form, **options}})


def split(shape, outputs, rows=64, seed=1):
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, int(np.prod(shape)))).astype(np.float32)
    classes = tuple("abcdefghijklmnop"[:outputs])
    return Split(features, random.integers(0, outputs, rows), feature_shape=tuple(shape), classes=classes)


def saved(path, description, seed=0):
    torch.manual_seed(seed)
    model = build_model(**description).eval()
    save_model(path, model, description, checked=False)
    return model


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    path = tmp_path_factory.mktemp("cnn") / "weights.safetensors"
    return saved(path, CNN), path


@pytest.fixture(scope="module")
def files(cnn, tmp_path_factory):
    """The files of all precisions, each with what is known of it and the measures."""
    folder, train = tmp_path_factory.mktemp("files"), split(CNN["input_shape"], 10)
    found = {}
    for precision in LARGEST:
        own = kind(precision)
        path = folder / f"{precision}-{own.makes}"
        found[precision] = (path, *made_model(path, own, train, CPU, train=train, source=cnn[1], seed=3))
    return found


def opened(files, precision):
    return kind(precision).open((1, 8, 8), 10, CPU, torch.float32, file=files[precision][0])


@pytest.mark.parametrize("precision", LARGEST)
def test_outputs_are_those_of_the_network_up_to_the_rounding_of_the_precision(cnn, files, precision):
    inputs = torch.from_numpy(split(CNN["input_shape"], 10, seed=2).model_inputs())
    with torch.no_grad():
        expected = cnn[0](inputs)
    found = opened(files, precision)(inputs)
    assert found.dtype == torch.float32
    error = float((found - expected).norm() / expected.norm())
    assert error < LARGEST[precision]
    # It is not the float network that was opened.
    assert error > LARGEST[precision] / 1000 or precision == "onnx"
    _, known, measures = files[precision]
    assert 0 <= known.get("relative_difference", known.get("largest_difference")) < 2 * LARGEST[precision]
    assert set(measures) == {"loss", "accuracy"}


@pytest.mark.parametrize("precision", LARGEST)
def test_a_row_does_not_depend_on_the_others(files, precision):
    model, generator = opened(files, precision), torch.Generator().manual_seed(0)
    rows = torch.randn(5, 1, 8, 8, generator=generator)
    rows[4] *= 30
    check_rows(model, rows)
    together, alone = model(rows), torch.cat([model(row[None]) for row in rows])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_without_rows_one_by_one_the_dynamic_network_is_refused(files):
    path = files["int8-dynamic"][0]
    rows = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RowError, match="batch_size"):
        check_rows(OnnxModel(path), rows)


@pytest.mark.parametrize("precision", ["onnx", "int8-static", "int8-dynamic", "bfloat16"])
def test_the_same_network_gives_the_same_bytes_without_traces(cnn, files, tmp_path, precision):
    own, train = kind(precision), split(CNN["input_shape"], 10)
    again = tmp_path / own.makes
    own.make(again, (1, 8, 8), 10, train=train, source=cnn[1], seed=3)
    content = files[precision][0].read_bytes()
    assert again.read_bytes() == content
    assert not re.search(rb"stack_trace|site-packages|\.py\b|/tmp|namespace", content)


def test_the_outputs_of_a_static_network_are_a_staircase(files):
    path = files["int8-static"][0]
    model = onnx.load(path)
    last = [node for node in model.graph.node if node.op_type == "DequantizeLinear"][-1]
    scale = next(onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == last.input[1])
    rows = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    stairs = opened(files, "int8-static")(rows).double().numpy() / float(scale)
    np.testing.assert_allclose(stairs, stairs.round(), atol=1e-3)
    assert 2 < len(np.unique(stairs.round())) <= 256


def test_a_linear_layer_is_quantised_as_the_formula_says(tmp_path):
    torch.manual_seed(0)
    layer, rows, path = torch.nn.Linear(6, 3), split([6], 3, rows=40).model_inputs(), tmp_path / "model.onnx"
    write_static(path, layer.eval(), rows, wide=False, method="minmax", per_channel=True)
    weights, bias = (own.detach().double().numpy() for own in (layer.weight, layer.bias))
    inputs = rows.astype(float)

    def rounded(values, scale, zero=0.0):
        return (np.clip(np.round(values / scale) + zero, -128, 127) - zero) * scale

    of_weights = np.abs(weights).max(axis=1, keepdims=True) / 127
    low, high = min(inputs.min(), 0), max(inputs.max(), 0)
    of_inputs = (high - low) / 255
    quantised = rounded(inputs, of_inputs, np.round(-128 - low / of_inputs))
    outputs = quantised @ rounded(weights, of_weights).T + bias
    exact = inputs @ weights.T + bias
    of_outputs = (max(exact.max(), 0) - min(exact.min(), 0)) / 255
    found = OnnxModel(path)(rows).astype(float)
    # Half a step of the output, a step of the bias, and a step in the few inputs that lie on an edge in float32.
    edge = of_inputs * np.abs(weights).max()
    assert np.abs(found - outputs).max() < 0.51 * of_outputs + edge * 1e-3 + 1e-3
    assert np.abs(found - exact).max() > 0.3 * of_outputs


@pytest.mark.parametrize("calibration", ["entropy", "percentile"])
def test_other_scales_are_found_in_silence(tmp_path, capfd, calibration):
    source, rows = tmp_path / "weights.safetensors", split([6], 3, rows=40)
    network = saved(source, MLP)
    own = kind("int8-static", calibration=calibration, calibration_rows=30)
    known = own.make(tmp_path / own.makes, (6,), 3, train=rows, source=source, seed=0)
    assert known["calibration_rows"] == 30
    assert capfd.readouterr() == ("", "")
    inputs = torch.from_numpy(rows.model_inputs())
    with torch.no_grad():
        expected = network(inputs)
    found = own.open((6,), 3, CPU, torch.float32, file=tmp_path / own.makes)(inputs)
    assert float((found - expected).norm() / expected.norm()) < LARGEST["int8-static"]


def test_calibration_rows_are_drawn_from_the_training_rows():
    rows = split([6], 3, rows=40)
    drawn = drawn_rows(rows, 10, seed=0)
    every = {tuple(row) for row in rows.model_inputs().tolist()}
    assert len({tuple(row) for row in drawn.tolist()} & every) == 10
    assert not np.array_equal(drawn, drawn_rows(rows, 10, seed=1))
    np.testing.assert_array_equal(drawn_rows(rows, 99, seed=0), rows.model_inputs())


class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else -self.layer(x)


class Counts(torch.nn.Module):
    """Adds what it was called with before, which an export keeps as a constant."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = torch.nn.Linear(6, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) + self.calls


@pytest.mark.parametrize(
    ("network", "words"),
    [(Branches(), "exported: the network cannot be written as ONNX"), (Counts(), "counting calls")],
    ids=["branches", "counts"],
)
def test_networks_that_an_onnx_file_does_not_hold_are_one_line(tmp_path, network, words):
    with pytest.raises(ModelError, match=words) as error:
        write_onnx(tmp_path / "model.onnx", network.eval(), (6,))
    assert "\n" not in str(error.value)


def test_weights_beyond_half_precision_are_refused(tmp_path):
    source = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    model = build_model(**MLP)
    with torch.no_grad():
        next(model.parameters())[0, 0] = 1e5
    save_model(source, model, MLP, checked=False)
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match=r"has a number beyond 65504, the largest of float16; take another precision"):
        kind("float16").make(path, (6,), 3, train=None, source=source, seed=0)
    kind("bfloat16").make(path, (6,), 3, train=None, source=source, seed=0)


def test_comments_inside_branches_are_left_out():
    node = onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="/home/me/net.py")
    inner = onnx.helper.make_graph([node], "inner", [], [onnx.helper.make_tensor_value_info("y", 1, None)])
    branch = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = onnx.helper.make_graph([branch], "graph", [], [onnx.helper.make_tensor_value_info("y", 1, None)])
    assert b"/home" not in plain_model(onnx.helper.make_model(graph, doc_string="/home"))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"as": "float16", "calibration_rows": 9},
            "models.box.exported.calibration_rows: is of use for int8-static, int16-static, not for float16; leave it "
            "out",
        ),
        (
            {"per_channel": True},
            "models.box.exported.per_channel: is of use for int8-static, int16-static, int8-dynamic, not for onnx; "
            "leave it out",
        ),
        ({"as": "int4"}, "models.box.exported.as: got 'int4', expected one of onnx, "),
        ({"of": "box"}, "models.box.exported.of: got 'box', expected a model with weights of the study: cnn, mlp, "),
    ],
    ids=["half with rows", "float with channels", "unknown", "itself"],
)
def test_what_cannot_be_exported_is_one_line(options, line):
    own = {"exported": {"of": "mlp"} | options}
    found = faults(entry(models=["box"]), models=DEFAULT["models"] | {"box": own})
    assert [fault for fault in found if fault.startswith(line)]


def test_a_misspelt_network_is_recognised():
    found = faults(entry(models=["box"]), models=DEFAULT["models"] | {"box": {"exported": {"of": "mpl"}}})
    assert all(fault.endswith("(did you mean mlp?)") for fault in found)


def test_an_exported_network_takes_float32_only():
    (line,) = faults(
        entry(difference(dtypes=["float32", "float64"]), models=["box"]),
        models=DEFAULT["models"] | {"box": {"exported": {"of": "mlp"}}},
    )
    assert line == "experiments[0].gradients: g0_0 evaluates models in float64, but box takes only float32"


def test_the_network_is_the_twin_unless_another_one_is_named():
    models = DEFAULT["models"] | {"box": {"exported": {"of": "mlp"}}}
    assert study(entry(models=["box"]), models=models).twin("box") == "mlp"
    other = DEFAULT["models"] | {"other": DEFAULT["models"]["mlp"], "box": {"exported": {"of": "mlp"}, "twin": "other"}}
    own = study(entry(models=["box"]), models=other)
    assert own.twin("box") == "other"
    assert own.models == [("synthetic_linear", name) for name in ("box", "other", "mlp")]
    assert own.model_file("synthetic_linear", "box").endswith("model=box/model.onnx")
