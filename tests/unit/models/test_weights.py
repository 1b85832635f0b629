"""Weights that were trained elsewhere."""

import hashlib
import math
import pickle
from argparse import Namespace
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from approxgrad.models.kind import ModelError
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model
from approxgrad.models.weights import download_weights, fit_weights, read_weights


def network(outputs=3):
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, outputs))


@pytest.fixture(params=["safetensors", "state dictionary", "wrapped state dictionary"])
def weight_file(request, tmp_path):
    torch.manual_seed(0)
    state = network().state_dict()
    path = tmp_path / "weights"
    if request.param == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if request.param == "state dictionary" else {"state_dict": state, "epoch": 3}, path)
    return path, state


def test_weights_are_read_whatever_the_format(weight_file):
    path, state = weight_file
    weights, _ = read_weights(path)
    assert set(weights) == set(state)
    assert all(torch.equal(weights[name], state[name]) for name in state)


def test_fitted_model_computes_as_the_original_did(weight_file):
    path, state = weight_file
    original, model = network().eval(), network().eval()
    original.load_state_dict(state)
    fit_weights(model, read_weights(path)[0], str(path))
    inputs = torch.randn(6, 4)
    assert torch.equal(model(inputs), original(inputs))


def test_checksum_is_compared_and_both_sums_are_named(weight_file):
    path, _ = weight_file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    read_weights(path, digest.upper())
    with pytest.raises(ModelError, match=f"{digest}, expected {'0' * 64}"):
        read_weights(path, "0" * 64)


class Harmful:
    def __reduce__(self):
        return (print, ("code of a foreign file ran",))


@pytest.mark.parametrize(
    "content",
    [b"", b"no weights", pickle.dumps({"a": Harmful()}), pickle.dumps([1, 2])],
    ids=["empty", "text", "harmful pickle", "plain pickle"],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_other_files_are_refused_without_running_their_code(tmp_path, content, capsys):
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.bin: is"):
        read_weights(path)
    assert "code of a foreign file ran" not in capsys.readouterr().out


def test_a_torch_file_with_foreign_objects_is_refused(tmp_path, capsys):
    torch.save({"a": Harmful()}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="state dictionary"):
        read_weights(tmp_path / "weights.pt")
    assert "code of a foreign file ran" not in capsys.readouterr().out


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.pt: cannot be read"):
        read_weights(tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("0.weight"), r"missing 0\.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected extra"),
        (
            lambda state: state.update(network(7).state_dict()),
            r"wrong: 2\.weight has shape \(7, 5\), expected \(3, 5\)",
        ),
    ],
    ids=["missing", "unexpected", "other number of classes"],
)
def test_wrong_fit_names_what_differs_and_changes_nothing(change, words):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = network().state_dict()
    change(weights)
    with pytest.raises(ModelError, match=f"here: does not fit Sequential: .*{words}"):
        fit_weights(model, weights, "here")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("outputs", "told"), [(5, True), (2, False)])
def test_weights_for_more_classes_say_what_to_name(outputs, told):
    with pytest.raises(ModelError, match=r"wrong: 2\.weight has shape") as error:
        fit_weights(network(), network(outputs).state_dict(), "w")
    assert str(error.value).endswith("; if they know more classes than the data, name them as `classes` there") is told


class Tied(nn.Module):
    """Two names for one tensor, numbers of several kinds, and a value that is no tensor."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.count = nn.Linear(3, 3), nn.Linear(3, 3), 0
        self.b.weight = self.a.weight
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))
        self.register_buffer("small", torch.ones(3, dtype=torch.float16))

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


def tied(**changes):
    model = Tied()
    model.count = 7
    return model.state_dict() | changes


@pytest.mark.parametrize("dropped", [None, "a.weight", "b.weight"])
def test_of_names_that_share_a_tensor_any_will_do_and_extra_state_is_put_back(tmp_path, dropped):
    state = tied()
    state.pop(dropped, None)
    torch.save(state, tmp_path / "weights.pt")
    model = Tied()
    fit_weights(model, read_weights(tmp_path / "weights.pt")[0], "here")
    assert torch.equal(model.a.weight, state["b.weight" if dropped == "a.weight" else "a.weight"])
    assert model.count == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"b.weight": torch.zeros(3, 3)},
            "different values for what is one tensor in the model: b.weight and a.weight",
        ),
        ({"mask": torch.tensor([0, 1, 2])}, "wrong: mask holds values that bool does not"),
        ({"small": torch.tensor([1.0, 2.0, 1e6])}, "wrong: small holds values that float16 does not"),
        ({"small": torch.ones(3, dtype=torch.complex64)}, "wrong: small holds complex64, expected float16"),
        ({"_extra_state": {}}, "cannot be put into Tied (KeyError: 'count')"),
    ],
    ids=["tied apart", "whole numbers", "too large", "complex", "extra state"],
)
def test_values_that_would_become_others_are_refused(changes, words):
    with pytest.raises(ModelError) as error:
        fit_weights(Tied(), tied(**changes), "here")
    assert words in str(error.value)


def test_batch_counters_may_be_missing():
    weights = network().state_dict()
    del weights["1.num_batches_tracked"]
    fit_weights(network(), weights, "here")


def test_long_lists_of_differences_are_shortened():
    with pytest.raises(ModelError, match=r"missing 0\.weight, 0\.bias, 1\.weight and \d+ more"):
        fit_weights(network(), {}, "here")


def test_unreachable_hub_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"model\.bin of owner/name .*set weights\.file instead"):
        download_weights("owner/name", "model.bin")


def build(input_shape, outputs, width=2):
    """Stand for a user's own architecture."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), width), nn.Linear(width, outputs))


def test_own_architecture_is_built_saved_and_loaded(tmp_path, monkeypatch):
    description = {"input_shape": (1, 2, 2), "outputs": 3, "factory": f"{__name__}:build", "options": {"width": 7}}
    model = build_model(**description).eval()
    assert model[1].out_features == 7
    save_model(tmp_path / "model.safetensors", model, description)
    inputs = torch.randn(2, 1, 2, 2)
    assert torch.equal(load_model(tmp_path / "model.safetensors", torch.device("cpu"))(inputs), model(inputs))


@pytest.mark.parametrize("factory", ["nowhere_to_be_found:build", f"{__name__}:missing"])
def test_architecture_that_cannot_be_imported_is_named(factory):
    with pytest.raises(ModelError, match=f"factory {factory}: cannot be imported"):
        build_model((4,), 2, factory=factory)


def test_factory_must_return_a_module():
    with pytest.raises(ModelError, match="returned OrderedDict, expected a torch module"):
        build_model((4,), 2, factory=f"{__name__}:ordered")


def ordered(input_shape, outputs):
    """Stand for a factory that returns something else."""
    return OrderedDict()


# Checkpoints as training scripts leave them


def fitted(tmp_path, content):
    """Fit what is saved as a torch file, see that the network computes as the original, and return what was said."""
    torch.manual_seed(0)
    original = network()
    torch.save(content(original.state_dict()), tmp_path / "weights.pt")
    state, where = read_weights(tmp_path / "weights.pt")
    model = network()
    names = fit_weights(model, state, "here")
    inputs = torch.randn(6, 4)
    assert torch.equal(model.eval()(inputs), original.eval()(inputs))
    return where, names


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda own: own, ("", "")),
        (lambda own: {"state_dict": own, "epoch": 3}, ("weights from state_dict of the checkpoint", "")),
        (
            lambda own: {"model_state_dict": own, "optimizer_state_dict": {"state": {}, "lr": 0.1}, "loss": 0.2},
            ("weights from model_state_dict of the checkpoint", ""),
        ),
        (lambda own: {"model": own, "args": {"lr": 1}}, ("weights from model of the checkpoint", "")),
        (lambda own: {"net": own, "acc": 9.0}, ("weights from net of the checkpoint", "")),
        (lambda own: {"model": {"state_dict": own, "n": 1}}, ("weights from model.state_dict of the checkpoint", "")),
        (lambda own: prefixed("module.", own), ("", "names without module.")),
        (lambda own: prefixed("_orig_mod.", own), ("", "names without _orig_mod.")),
        (lambda own: prefixed("module._orig_mod.", own), ("", "names without module. and _orig_mod.")),
        (lambda own: prefixed("model.", own), ("", "names without model.")),
        (lambda own: prefixed("model.net.module.", own), ("", "names without model. and net. and module.")),
        (
            lambda own: {name.replace("0.", "0.module.") if name[0] == "0" else name: own[name] for name in own},
            ("", "names without module."),
        ),
        (
            lambda own: {"state_dict": prefixed("module.", own), "epoch": 1},
            ("weights from state_dict of the checkpoint", "names without module."),
        ),
        (
            lambda own: {"state_dict": prefixed("model.", own) | {"loss.weight": torch.ones(2)}, "callbacks": {}},
            ("weights from state_dict of the checkpoint", "names without model., and left out loss.weight"),
        ),
        (
            lambda own: {"n_averaged": torch.tensor(3)} | prefixed("module.", own),
            ("", "names without module., and left out n_averaged"),
        ),
        (
            lambda own: {"model": own, "model_ema": {name: torch.zeros(1) for name in own}},
            ("weights from model of the checkpoint, which holds model_ema too", ""),
        ),
        (lambda own: {"ema": own, "decay": 0.99}, ("weights from ema of the checkpoint", "")),
        (
            lambda own: {name: value.double() if value.is_floating_point() else value for name, value in own.items()},
            ("", ""),
        ),
    ],
)
def test_usual_checkpoints_fit_and_are_told(tmp_path, content, said):
    assert fitted(tmp_path, content) == said


class Wrapped(nn.Module):
    """A network whose own names begin with what is left out of others."""

    def __init__(self):
        super().__init__()
        self.module = network()


def test_names_that_fit_stay_as_they_are():
    model = Wrapped()
    assert fit_weights(model, Wrapped().state_dict(), "here") == ""
    with pytest.raises(ModelError, match=r"missing module.0.weight.* unexpected 0.weight"):
        fit_weights(model, network().state_dict(), "here")


def test_of_two_networks_in_one_file_none_is_guessed():
    both = prefixed("student.", network().state_dict()) | prefixed("teacher.", network().state_dict())
    with pytest.raises(ModelError, match=r"does not fit Sequential: missing 0.weight.* unexpected student.0.weight"):
        fit_weights(network(), both, "here")


def test_half_precision_is_converted():
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in network().state_dict().items()
    }
    model = network()
    fit_weights(model, state, "here")
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert torch.equal(model[0].weight.half(), state["0.weight"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"epoch": 3, "optimizer": {}}, r"is not a state dictionary, .*; it has the keys epoch, optimizer"),
        ([torch.zeros(2)], r"is not a state dictionary, which maps names to tensors$"),
        (
            network(),
            r"tensors only; it holds torch.nn.modules.*; where it was trained, write it with torch.save\(model",
        ),
        (
            {"model": network().state_dict(), "args": Namespace(lr=1)},
            r"of tensors only; it holds argparse.Namespace; where",
        ),
    ],
)
def test_what_holds_no_weights_is_told(tmp_path, content, expected):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=expected):
        read_weights(tmp_path / "weights.pt")


def script(path):
    torch.jit.script(network().eval()).save(path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (script, r"it is a TorchScript archive; torch.jit.load\(path\).state_dict\(\) has its weights$"),
        (
            lambda path: path.write_text(
                '{"metadata": {}, "weight_map": {"0.weight": "model-00001-of-00002.safetensors"}}'
            ),
            r"it lists weights that lie in several files; join these into one",
        ),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
            r"`git lfs pull` fetches",
        ),
        (lambda path: path.write_bytes(b""), r"it is empty$"),
    ],
    ids=["TorchScript", "index of shards", "Git LFS", "empty"],
)
def test_a_file_of_another_kind_is_recognised(tmp_path, write, expected):
    write(tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=expected):
        read_weights(tmp_path / "weights.pt")


def test_names_that_two_weights_would_share_are_not_shortened():
    state = prefixed("module.", network().state_dict()) | network().state_dict()
    with pytest.raises(ModelError, match=r"does not fit Sequential: unexpected module.0.weight"):
        fit_weights(network(), state, "here")
