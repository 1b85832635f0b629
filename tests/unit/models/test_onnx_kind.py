"""ONNX files as a kind of model: its files, its faults, and that it returns what the data need."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from approxgrad.descriptions import read
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.opening import open_model
from approxgrad.study.named_files import factory_faults
from onnx_models import WEIGHTS, kept_outside, linear, made, port, saved

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kind(**options):
    return read(MODELS["onnx"], {"onnx": "model.onnx"} | options)


def opened(outputs=3, dtype=torch.float32, shape=(4,), **options):
    return open_model("onnx", kind(**options).opening(), None, shape, outputs, CPU, dtype)


def test_it_is_described_without_torch():
    code = "import sys; from approxgrad.models.kind import MODELS; MODELS['onnx']; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_it_has_no_gradient_and_no_weights():
    own = kind(transform="log")
    assert (own.differentiable, own.trained, own.fitted, own.module) == (False, False, False, "")
    assert {"onnx": "model.onnx", "transform": "log"}.items() <= own.opening().items()
    assert kind(onnx=" ").faults() == ["onnx: is empty, expected a path"]


def test_files_beside_it_are_its_own(folder):
    kept_outside(linear(), folder / "model.onnx", "w.bin")
    assert kind().own_files == {"onnx": ["model.onnx", "w.bin"]}
    assert kind().opened_files == ["model.onnx", "w.bin"]
    assert factory_faults("own", kind()) == []
    (folder / "w.bin").unlink()
    assert factory_faults("own", kind()) == [f"models.own.onnx: w.bin: no such file in {folder}"]
    # Read again where it has changed, and left to the job where it cannot be read.
    saved(linear(), folder / "model.onnx")
    assert kind().own_files == {"onnx": ["model.onnx"]}
    (folder / "model.onnx").write_text("no model")
    assert kind().own_files == {"onnx": ["model.onnx"]}
    (folder / "model.onnx").unlink()
    assert factory_faults("own", kind()) == [f"models.own.onnx: model.onnx: no such file in {folder}"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_it_is_opened_as_a_callable_from_tensors(folder, runtime):
    saved(linear(), folder / "model.onnx")
    rows = torch.randn(5, 4)
    expected = rows @ torch.from_numpy(WEIGHTS)
    torch.testing.assert_close(opened(runtime=runtime)(rows), expected)
    doubles = linear(dtype=np.float64, kind=TensorProto.DOUBLE)
    saved(doubles, folder / "model.onnx")
    found = opened(dtype=torch.float64)(rows.double())
    torch.testing.assert_close(found, rows.double() @ torch.from_numpy(WEIGHTS).double(), rtol=1e-14, atol=1e-14)


def test_a_single_output_without_an_axis_is_that_of_a_regression(folder):
    nodes = [helper.make_node("ReduceSum", ["x", "a"], ["y"], keepdims=0)]
    saved(made(nodes, [port("x", ["N", 4])], [port("y", ["N"])], {"a": np.array([1])}), folder / "model.onnx")
    assert opened(outputs=1)(torch.ones(2, 4)).tolist() == [[4.0], [4.0]]


def test_other_inputs_have_values_from_the_configuration(folder):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["c"]), helper.make_node("Mul", ["c", "b"], ["y"])]
    inputs = [port("x", ["N", 4]), port("b", ["N", 3])]
    saved(made(nodes, inputs, [port("y", ["N", 3])], {"w": WEIGHTS}), folder / "model.onnx")
    own = kind(input="x", constants={"b": [1, 2, 0.5]})
    assert own.faults() == []
    rows = torch.randn(5, 4)
    found = open_model("onnx", own.opening(), None, (4,), 3, CPU)(rows)
    torch.testing.assert_close(found, rows @ torch.from_numpy(WEIGHTS) * torch.tensor([1, 2, 0.5]))
    with pytest.raises(ModelError, match=r"name the explained one as input=, and give values of the others"):
        opened()
    with pytest.raises(ValueError, match=r"^constants: lack a value of b \(float32, shape \(N, 3\)\)$"):
        opened(input="x")


@pytest.mark.parametrize("value", ["one", True, None, [[1, 2], [3]], [1, "a"], float("nan"), {"a": 1}])
def test_constants_that_are_no_numbers_are_refused(value):
    assert kind(constants={"b": value}).faults() == [
        "constants.b: expected a number, or lists of one length with numbers"
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"outputs": 2},
            r"onnx model\.onnx: fails for inputs .*returned shape \(2, 3\) for 2 rows, expected \(2, 2\); "
            "if the model knows more classes than the data, name them as `classes` there",
        ),
        ({"outputs": 1}, r"returned shape \(2, 3\) for 2 rows, expected \(2, 1\)"),
        ({"shape": (5,)}, r"inputs: got shape \(2, 5\), the model takes \(N, 4\)"),
        (
            {"dtype": torch.float64},
            r"onnx model\.onnx: takes float32, so it cannot be evaluated in float64; leave that",
        ),
        ({"output": "z"}, "output: got 'z', the model's outputs are y"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_one_line(folder, options, says):
    saved(linear(), folder / "model.onnx")
    with pytest.raises(ValueError, match=says) as caught:
        opened(**options)
    assert "\n" not in str(caught.value)


def test_more_outputs_than_classes_are_stated(folder):
    saved(linear(), folder / "model.onnx")
    own = read(MODELS["onnx"], {"onnx": "model.onnx", "outputs": 3})
    assert open_model("onnx", own.opening(), None, (4,), 2, CPU)(torch.ones(2, 4)).shape == (2, 3)
    with pytest.raises(ModelError, match=r"^outputs: got 3, expected at least 5, one for each class$"):
        open_model("onnx", own.opening(), None, (4,), 5, CPU)


@pytest.mark.parametrize("options", [{"runtime": "other"}, {"transform": "exp"}, {"batch_size": 0}, {"onnx": 1}])
def test_options_have_bounds(options):
    with pytest.raises(ValueError, match="1 validation error"):
        kind(**options)
