"""What is saved is what was trained: every kind of state comes back, and what a file cannot hold is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad.models import saved
from approxgrad.models.kind import ModelError
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.own_modules import ROOT
from approxgrad.models.saved import save_model, try_saving
from approxgrad.models.states import StateError, decoded, encoded, split_state
from approxgrad.models.training import evaluate, train
from approxgrad.storage.splits import Split

CPU = torch.device("cpu")
HEAD = "import math, os, random, sys\nimport numpy as np, torch\nfrom torch import nn\n\n\n"
NOT_SAVED = (
    r"^model: loaded again from its file, its outputs differ by .*: register what it computes with as a parameter"
)


def network(start, forward, methods=""):
    """Return the source of a module with a factory `build`."""
    return (
        f"{HEAD}class Own(nn.Module):\n    def __init__(self, outputs):\n        super().__init__()\n"
        f"        self.last = nn.Linear(6, outputs)\n        {start}\n\n"
        f"    def forward(self, x):\n        {forward}\n\n{methods}\n\n"
        "def build(shape, outputs, **options):\n    return Own(outputs)\n"
    )


def extra(get, set_):
    return (
        f"    def get_extra_state(self):\n        return {get}\n\n"
        f"    def set_extra_state(self, state):\n        {set_}\n"
    )


def in_this_process(path, inputs, extension):
    return saved._here(path, inputs)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the model of a source, with weights that no seed gives, and its description."""
    monkeypatch.chdir(tmp_path)

    def make(source, **options):
        Path("own.py").write_text(source)
        description = {"input_shape": [6], "outputs": 1, "factory": "own:build", "options": options}
        torch.manual_seed(0)
        model = build_model(**description)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.rand_like(parameter))
        return model.eval(), description

    return make


# State that comes back.

DTYPES = """for name in ("bfloat16", "float16", "float64", "complex64"):
            self.register_buffer("of_" + name, torch.rand(6).to(getattr(torch, name)))
        self.register_buffer("of_int8", torch.randint(-9, 9, (6,)).to(torch.int8))
        self.register_buffer("of_bool", torch.rand(6) > 0.5)
        self.register_buffer("none", torch.zeros(0, 3))
        self.register_buffer("turned", torch.rand(6, 6).t())"""
FOLDED = """    def train(self, mode=True):
        super().train(mode)
        if self.folded == mode:
            self.last.weight.data.add_(self.more.data, alpha=-1 if mode else 1)
            self.folded = not mode
        return self
"""
CACHED = """    def train(self, mode=True):
        self.kept = None if mode else self.kept
        return super().train(mode)
"""
KEPT = {
    "tied weights": network(
        "self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6); self.b.weight = self.a.weight",
        "return self.last(self.b(self.a(x)))",
    ),
    "a transposed view": network(
        "self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6); self.b.weight = nn.Parameter(self.a.weight.t())",
        "return self.last(self.b(self.a(x)))",
    ),
    "slices of one tensor": network(
        "w = torch.rand(12, 6); [self.register_buffer(n, t) for n, t in (('w', w), ('u', w[::2]), ('v', w[1::2]))]",
        "return self.last(x @ self.u @ self.v)",
    ),
    "kinds of numbers": network(
        DTYPES,
        "x = x * self.of_bfloat16 * self.of_float16 * self.of_float64 * self.of_complex64.real * self.of_int8; "
        "return self.last((x + self.of_bool).float() @ self.turned)",
    ),
    "a conjugate view": network(
        "self.register_buffer('c', torch.randn(6, dtype=torch.complex64).conj())", "return self.last(x * self.c.imag)"
    ),
    "a negative view": network(
        "self.register_buffer('c', torch.randn(6, dtype=torch.complex64).conj().imag)", "return self.last(x * self.c)"
    ),
    "extra state in JSON": network(
        "self.k = random.random()",
        "return self.last(x * self.k)",
        extra("{'k': self.k, 1: (2, None)}", "self.k = state['k'] if state[1] == (2, None) else 0"),
    ),
    "extra state in tensors": network(
        "self.k, self.n = torch.rand(6), np.random.rand(6)",
        "return self.last(x * self.k * torch.from_numpy(self.n).float())",
        extra("[self.k, {'n': self.n}]", "self.k, self.n = state[0], state[1]['n']"),
    ),
    "layers made by the first call": network(
        "pass", "self.a = getattr(self, 'a', None) or nn.Linear(6, 6); return self.last(self.a(x))"
    ),
    "lazy layers": f"{HEAD}def build(shape, outputs):\n"
    "    return nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(outputs))\n",
    "weights folded for evaluation": network(
        "self.more, self.folded = nn.Parameter(torch.rand(1, 6)), False",
        "return self.last(x) if self.folded else self.last(x) + x @ self.more.t()",
        FOLDED,
    ),
    "a cache for evaluation": network(
        "self.kept = None",
        "weight = self.last.weight / self.last.weight.norm() if self.kept is None else self.kept; "
        "self.kept = None if self.training else weight; return x @ weight.t()",
        CACHED,
    ),
}


@pytest.mark.parametrize("source", KEPT.values(), ids=KEPT)
def test_state_comes_back(made, monkeypatch, source):
    model, description = made(source)
    inputs = torch.randn(4, 6)
    expected = model(inputs)
    save_model("weights", model, description, checked=False)
    torch.manual_seed(1)
    assert torch.allclose(load_model("weights", CPU)(inputs), expected, atol=1e-6)
    # In this process: the others are for what only a new one finds out.
    monkeypatch.setattr(saved, "_in_new_process", in_this_process)
    save_model("weights", model, description)


@pytest.mark.parametrize("name", ["weights folded for evaluation", "a cache for evaluation"])
def test_trained_models_that_fold_or_keep_weights_are_measured_as_they_are_saved(made, name):
    features = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    split, opposite = (Split(features, sign * features[:, 0], feature_shape=(6,)) for sign in (1, -1))
    model, description = made(KEPT[name])
    # Validation wants the opposite, so that an earlier epoch than the last is the best.
    result = train(model, split, opposite, {"epochs": 4, "batch_size": 8, "learning_rate": 0.3}, CPU)
    losses = result.curves.query("split == 'validation' and metric == 'loss'").set_index("epoch")["value"]
    assert result.best_epoch < 4
    assert evaluate(model, opposite, CPU)["loss"] == pytest.approx(losses[result.best_epoch], rel=1e-4)
    save_model("weights", model, description, checked=False)
    inputs = torch.from_numpy(split.model_inputs())
    assert torch.allclose(load_model("weights", CPU)(inputs), model(inputs), atol=1e-5)


# What is refused.

ONLY_HERE = {
    "an attribute": network("self.p = torch.rand(6)", "return self.last(x * self.p)"),
    "a buffer that is not persistent": network(
        "self.register_buffer('p', torch.rand(6), persistent=False)", "return self.last(x * self.p)"
    ),
    "numpy": network("self.p = torch.from_numpy(np.random.rand(6)).float()", "return self.last(x * self.p)"),
    "Python's random numbers": network(
        "self.p = random.sample(range(99), 6)", "return self.last(x * torch.tensor(self.p))"
    ),
    "a closure": f"{HEAD}def build(shape, outputs):\n    p, net = torch.rand(6), nn.Linear(6, outputs)\n"
    "    net.register_forward_pre_hook(lambda module, given: (given[0] * p,))\n    return net\n",
    "weights kept from the first call": network(
        "self.kept = None",
        "self.kept = self.last.weight / self.last.weight.norm() if self.kept is None else self.kept; "
        "return x @ self.kept.t()",
    ),
    "extra state that is not put back": network(
        "self.k = random.random()", "return self.last(x * self.k)", extra("self.k", "pass")
    ),
}


@pytest.mark.parametrize("source", ONLY_HERE.values(), ids=ONLY_HERE)
def test_what_is_not_in_the_file_is_refused(made, monkeypatch, source):
    monkeypatch.setattr(saved, "_in_new_process", in_this_process)
    model, description = made(source)
    with pytest.raises(ModelError, match=NOT_SAVED):
        save_model("weights", model, description)
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["own.py"]


IN_ANOTHER_PROCESS = {
    "a global variable": (
        network("pass", "return self.last(x * P)", "\nP = torch.rand(6)"),
        NOT_SAVED,
    ),
    "the hash of text": (
        network("self.p = [hash(str(n)) % 9 for n in range(6)]", "return self.last(x * torch.tensor(self.p))"),
        NOT_SAVED,
    ),
    "an end of the process": (
        network("os._exit(3) if os.environ.get('LOADED') else os.environ.update(LOADED='1')", "return self.last(x)"),
        r"^model: cannot be loaded again in a new process \(it ended with status 3\)$",
    ),
    "a crash": (
        network("os.abort() if os.environ.get('LOADED') else os.environ.update(LOADED='1')", "return self.last(x)"),
        r"\(it was ended by SIGABRT\)$",
    ),
    "an error": (
        network("1 / ('LOADED' not in os.environ); os.environ.update(LOADED='1')", "return self.last(x)"),
        r"in a new process \(no model can be made of it \(factory own:build: failed \(ZeroDivisionError: ",
    ),
}


@pytest.mark.parametrize(("source", "words"), IN_ANOTHER_PROCESS.values(), ids=IN_ANOTHER_PROCESS)
def test_a_new_process_finds_what_this_one_shares(made, monkeypatch, source, words):
    monkeypatch.setenv("LOADED", "")
    monkeypatch.delenv("LOADED")
    model, description = made(source)
    with pytest.raises(ModelError, match=words):
        try_saving("weights.safetensors", model, description, torch.randn(3, 6))
    assert not list(Path().glob("*weights*"))


def test_a_model_with_a_thread_and_a_child_that_never_end_is_checked_all_the_same(made):
    start = (
        "import subprocess, threading, time; subprocess.Popen(['sleep', '60']); "
        "threading.Thread(target=time.sleep, args=(60,), daemon='LOADED' not in os.environ).start(); "
        "os.environ.update(LOADED='1')"
    )
    model, description = made(network(start, "return self.last(x)"))
    save_model("weights", model, description)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": torch.ones(1, dtype=torch.complex128)}, "a: holds complex128, which safetensors cannot store"),
        ({"a": torch.eye(2).to_sparse()}, "a: is a Tensor of float32 whose values are not contiguous"),
        ({"a": torch.ones(1, device="meta")}, "a: is on the device meta"),
        ({"a": nn.UninitializedParameter()}, "a: has no shape yet"),
        ({"a": {"b": object()}}, "a: holds a value of type object, expected numbers, text"),
        ({"a": np.array(["x"])}, "a: holds an array of <U1, expected numbers"),
    ],
    ids=["complex128", "sparse", "meta", "lazy", "object", "text"],
)
def test_values_that_no_file_can_hold_are_named(state, words):
    with pytest.raises(StateError, match=f"^{words}"):
        split_state(state)


def test_the_check_changes_neither_the_model_nor_any_random_state(made, monkeypatch):
    monkeypatch.setattr(saved, "_in_new_process", in_this_process)
    model, description = made(
        f"{HEAD}def build(shape, outputs):\n    return nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 1))\n"
    )
    model.train()
    model[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    save_model("weights", model, description)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [layer.training for layer in model.modules()] == [True, False, True]


# Options.

OPTIONS = {
    "a": None,
    "b": "1e-3",
    "c": {30: 0.1, "z": [1, None], "a": {}},
    "d": float("inf"),
    "e": {"approxgrad:tuple": 1},
    "f": 10**30,
    "g": {"z": 1, "a": 2},
}


def test_options_reach_the_factory_as_they_are_whatever_it_does_with_them(made):
    source = (
        "from torch import nn\n\nSEEN = []\n\n\ndef build(shape, outputs, **options):\n    SEEN.append(repr(options))\n"
        "    options['c'].clear()\n    return nn.Linear(6, outputs)\n"
    )
    model, description = made(source, **OPTIONS)
    save_model("weights", model, description, checked=False)
    load_model("weights", CPU)
    seen = __import__("sys").modules[f"{ROOT}.own"].SEEN
    assert seen == [repr(OPTIONS)] * 2


def test_extra_state_holds_numbers_of_all_kinds():
    value = (1, [2.5, float("-inf")], {(1, 2): "x"}, True)
    assert repr(decoded(encoded(value, "a"), {}, set())) == repr(value)
