"""Kinds of models: what their descriptions say, plain functions, and kinds of a user's own."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference
from approxgrad.descriptions import read
from approxgrad.extensions import load
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.making import evaluated_as, measured_model
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.opening import open_model, recorded
from approxgrad.models.saved import save_model
from approxgrad.storage.splits import Split
from approxgrad.study.named_files import factory_faults

CPU = torch.device("cpu")
TRAINING = {"epochs": 2, "batch_size": 4, "learning_rate": 0.1}
WEIGHTS = {"file": "own.pt"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


def kind(name, **options):
    return read(MODELS[name], options)


def test_kinds_are_described_without_torch():
    code = "import sys; from approxgrad.models.kind import MODELS; list(MODELS.values()); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_network_is_trained_or_fitted():
    trained, fitted = kind("mlp", training=TRAINING), kind("mlp", weights=WEIGHTS)
    assert (trained.trained, trained.fitted, trained.weight_file("own"), trained.own_files) == (True, False, None, {})
    assert (fitted.trained, fitted.fitted, fitted.weight_file("own")) == (False, True, "own.pt")
    assert fitted.own_files == {"weights.file": ["own.pt"]}
    assert fitted.opened_files == []
    hub = kind("mlp", weights=WEIGHTS | {"repository": "a/b"})
    assert (hub.weight_file("own"), hub.own_files) == ("data/weights/own.weights", {})


def test_a_file_of_weights_says_what_its_network_is_and_not_how_it_was_trained():
    own = kind("mlp", training=TRAINING, batch_size=3, check_rows=False, hidden=[4])
    assert own.architecture() == {"architecture": "mlp", "hidden": [4], "dropout": 0.4}
    assert own.opening() == {}
    assert kind("factory", factory="a:b", weights=WEIGHTS).architecture() == {"factory": "a:b", "options": {}}


@pytest.mark.parametrize(
    ("name", "options", "faults"),
    [
        ("cnn", {}, ["training: is missing, expected either training or weights"]),
        (
            "cnn",
            {"training": TRAINING, "weights": WEIGHTS},
            ["training: stands beside weights, expected either training or weights"],
        ),
        ("cnn", {"weights": {"file": " "}}, ["weights.file: is empty, expected a path"]),
        (
            "factory",
            {"factory": "a:b", "training": TRAINING, "options": {1: 2, "c": [{"d": b"x"}]}},
            [
                "options: got the name 1, expected one that Python takes for an argument",
                "options.c[0].d: got b'x', expected null, true, false, a number, text, a list or a mapping",
            ],
        ),
        ("function", {"function": "a:b"}, []),
    ],
)
def test_faults_beyond_types_name_their_key(name, options, faults):
    assert kind(name, **options).faults() == faults


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"training": TRAINING, "hidden": []}),
        ("mlp", {"training": TRAINING, "dropout": 1.0}),
        ("mlp", {"training": TRAINING | {"epochs": True}}),
        ("cnn", {"training": TRAINING, "stem": "cifar"}),
        ("resnet18", {"training": TRAINING, "stem": "other"}),
        ("cnn", {"weights": WEIGHTS | {"sha256": "0"}}),
        ("factory", {"factory": "a"}),
        ("function", {"function": "a:b", "training": TRAINING}),
    ],
)
def test_options_have_bounds(name, options):
    with pytest.raises(ValueError, match="1 validation error"):
        kind(name, **options)


def test_only_the_users_wishes_about_evaluation_are_passed_on():
    assert evaluated_as({"small": {"architecture": "cnn", "batch_size": 3}}, "small") == {"batch_size": 3}


# Plain functions.

FUNCTIONS = """
import numpy as np, torch

MATRIX = np.arange(6).reshape(3, 2)
CALLS = []

def arrays(x):
    assert isinstance(x, np.ndarray)
    x *= 2
    return x.astype(np.float64) @ MATRIX

def tensors(x):
    return torch.as_tensor(2 * x) @ torch.from_numpy(MATRIX).to(x.dtype)

def either(x):
    return 2 * x[:, :2]

def whole(x):
    return 2 * x

def one_axis(x):
    return np.asarray(x)[:, 0]

def lists(x):
    return [float(row[0]) for row in np.asarray(x)]

def spread(x):
    return x.std(1)

def labels(x):
    return np.asarray(x).argmax(1)

def fails(x):
    return {}["x"]

NUMBER = 3
"""


def opened(name, classes=2, dtype=torch.float32, **options):
    Path("own_functions.py").write_text(FUNCTIONS)
    return open_model("function", {"function": f"own_functions:{name}"} | options, None, (3,), classes, CPU, dtype)


@pytest.mark.parametrize(("name", "dtype"), [("arrays", torch.float64), ("tensors", torch.float32)])
def test_a_function_of_arrays_or_tensors_takes_and_returns_tensors(name, dtype):
    model, inputs = opened(name), torch.randn(5, 3)
    before = inputs.clone()
    outputs = model(inputs)
    assert outputs.dtype == dtype
    assert torch.allclose(outputs.float(), 2 * inputs @ torch.arange(6.0).reshape(3, 2))
    assert torch.equal(inputs, before)
    assert opened(name, dtype=torch.float64)(inputs.double()).dtype == torch.float64


@pytest.mark.parametrize("name", ["one_axis", "lists"])
def test_a_single_output_needs_no_axis(name):
    inputs = torch.randn(4, 3)
    assert torch.equal(opened(name, 1)(inputs), inputs[:, :1])


def test_a_function_has_finite_differences_and_measures():
    model, inputs = opened("arrays"), torch.randn(4, 3)
    gradient = FiniteDifference(0.5, "central")(model, inputs, torch.tensor([0, 1, 0, 1]))[0]
    assert torch.allclose(gradient, torch.tensor([[0.0, 4, 8], [2, 6, 10]]).repeat(2, 1), atol=1e-5)
    features = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    split = Split(features, features[:, 0], feature_shape=(3,))
    assert measured_model(opened("one_axis", 1), split, CPU) == {"loss": 0, "root_mean_squared_error": 0, "r2": 1}


def test_a_function_may_have_more_outputs_than_there_are_classes():
    assert torch.equal(opened("whole", outputs=3)(torch.ones(1, 3)), torch.tensor([[2.0, 2, 2]]))
    with pytest.raises(ModelError, match=r"returned shape \(2, 3\) for 2 rows, expected \(2, 2\)"):
        opened("whole")
    with pytest.raises(ModelError, match=r"^outputs: got 2, expected at least 3, one for each class$"):
        opened("either", 3, outputs=2)
    with pytest.raises(ModelError, match=r"^outputs: got 2, expected 1 for a regression$"):
        opened("either", 1, outputs=2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", r"function own_functions:missing: cannot be imported \(AttributeError: "),
        ("NUMBER", r"function own_functions:NUMBER: is int, expected a function or class"),
        (
            "fails",
            r"fails for inputs of shape \(3,\), given as tensors \(KeyError: 'x'\) and as arrays \(KeyError: 'x'\)",
        ),
        (
            "spread",
            r"function own_functions:spread: returns other outputs for tensors than for arrays of the same numbers",
        ),
        ("labels", r"as arrays \(TypeError: model: returned torch\.int64 outputs, expected floating-point numbers"),
        ("either", r"returned shape \(2, 2\) for 2 rows, expected \(2, 1\)"),
    ],
)
def test_functions_that_are_no_models_are_one_line(name, words):
    with pytest.raises(ModelError, match=words) as error:
        opened(name, 1)
    assert "\n" not in str(error.value)


def test_the_module_of_a_function_is_tracked(folder):
    (folder / "own_functions.py").write_text("import beside\n")
    (folder / "beside.py").write_text("")
    own = kind("function", function="own_functions:arrays")
    assert own.own_files == {"function": ["beside.py", "own_functions.py"]}
    assert own.opened_files == own.own_files["function"]
    assert not own.differentiable
    assert not own.trained
    assert not own.fitted
    assert factory_faults("own", own) == []
    missing = kind("function", function="nowhere_to_be_found:predict")
    here = f"no module nowhere_to_be_found in {folder}, and none of that name is installed"
    assert factory_faults("own", missing) == [f"models.own.function: {here}"]


def test_attributes_of_a_users_own_network_mean_nothing():
    network = torch.nn.Linear(2, 1)
    network.args = SimpleNamespace(width=3)  # as many scripts keep their options
    assert recorded(network) == {}


# Kinds of a user's own.

EXTENSION = """
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from approxgrad.descriptions import Integer, option
from approxgrad.models.kind import MODELS
from approxgrad.models.network_kind import Network

SHIFT = 0

@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Own(Network):
    name: ClassVar[str] = "own_linear"
    label: ClassVar[str] = "own linear"
    scale: Annotated[Integer, option("Factor.", ge=1)] = 2

    def build(self, input_shape, outputs):
        layer = torch.nn.Linear(*input_shape, outputs)
        layer.register_forward_hook(lambda module, given, found: found * self.scale + SHIFT)
        return layer
"""


@pytest.fixture
def extension(folder):
    (folder / "own_kinds.py").write_text(EXTENSION)
    load(["own_kinds.py"])
    yield
    del sys.modules["own_kinds"], MODELS._members["own_linear"], MODELS._modules["own_linear"]


@pytest.mark.usefixtures("extension")
def test_a_kind_of_a_users_own_is_built_saved_and_loaded():
    own = kind("own_linear", training=TRAINING, scale=3)
    description = {"input_shape": (4,), "outputs": 1, **own.architecture()}
    model, inputs = build_model(**description), torch.randn(5, 4)
    assert torch.equal(model(inputs), 3 * (inputs @ model.weight.T + model.bias))
    save_model("weights", model, description)
    assert torch.equal(load_model("weights", CPU)(inputs), model(inputs))
    assert torch.equal(open_model("own_linear", {}, "weights", (4,), 1, CPU)(inputs), model(inputs))
    # A global variable is in no file: only a new process, which loads the extension too, finds that out.
    sys.modules["own_kinds"].SHIFT = 1
    with pytest.raises(ModelError, match="loaded again from its file, its outputs differ by"):
        save_model("weights", model, description)
