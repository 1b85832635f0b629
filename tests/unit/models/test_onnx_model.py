"""Models in ONNX files: what is read from the file, and that results are those of the formula."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import captum
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from approxgrad import FiniteDifference, OnnxModel, attribute, choose_step
from approxgrad.models.kind import ModelError
from approxgrad.models.onnx_file import read_onnx
from onnx_models import F32, WEIGHTS, kept_outside, linear, made, port, saved

ROWS = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
RUNTIMES = ["onnxruntime", "openvino"]
ROUNDING = 4 * np.finfo(np.float32).eps * np.abs(ROWS).sum(axis=1, keepdims=True) * np.abs(WEIGHTS).max()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def smooth(batch="N"):
    """Sums of exp(x) times weights: its derivatives are known."""
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("MatMul", ["e", "w"], ["y"])]
    return made(nodes, [port("x", [batch, 4])], [port("y", [batch, 3])], {"w": WEIGHTS})


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", ["N", None, -1, 1, 8, 10])
def test_batches_of_any_and_of_a_fixed_size(path, runtime, batch):
    model = OnnxModel(saved(linear(batch), path), runtime=runtime)
    assert (model.input, model.output, model.shape, model.dtype) == ("x", "y", (4,), np.float32)
    assert model.batch_size == (batch if isinstance(batch, int) and batch > 0 else None)
    found = model(ROWS)
    assert np.abs(found - ROWS @ WEIGHTS).max() <= ROUNDING.max()
    assert (type(found), found.dtype, found.shape) == (np.ndarray, np.float32, (10, 3))
    # The last batch is filled up, and what fills it up is left out.
    assert np.array_equal(found[7:], model(ROWS[7:]))
    tensor = model(torch.from_numpy(ROWS))
    assert torch.equal(tensor, torch.from_numpy(found))


@pytest.mark.parametrize(
    ("kind", "dtype", "rows", "round_inputs"),
    [
        (TensorProto.DOUBLE, np.float64, ROWS.astype(np.float64) * np.pi, False),
        (TensorProto.DOUBLE, np.float64, ROWS, False),
        (TensorProto.FLOAT16, np.float16, ROWS.astype(np.float16), False),
        (TensorProto.FLOAT16, np.float16, ROWS.astype(np.float16).astype(np.float64), False),
        (TensorProto.FLOAT16, np.float16, ROWS, True),
        (TensorProto.UINT8, np.float32, np.arange(8.0).reshape(2, 4), False),
        (TensorProto.UINT8, np.float32, np.array([[-5.0, 0.4, 1.6, 300.0]]), True),
        (TensorProto.INT64, np.float32, np.array([[-5.0, 0.4, 1.6, 300.0]]), True),
    ],
)
def test_inputs_are_given_in_the_type_of_the_model(path, kind, dtype, rows, round_inputs):
    model = OnnxModel(saved(linear(dtype=dtype, kind=kind), path), round_inputs=round_inputs)
    taken = rows.astype(np.float64)
    if model.dtype.kind in "iu":
        limits = np.iinfo(model.dtype)
        taken = np.clip(np.rint(taken), limits.min, limits.max)
    expected = taken.astype(model.dtype).astype(np.float64) @ WEIGHTS
    eps = np.finfo(dtype).eps
    assert np.abs(model(rows) - expected).max() <= 8 * eps * (np.abs(taken) @ np.abs(WEIGHTS)).max()
    if not round_inputs:
        with pytest.raises(ModelError, match=r"^inputs: are float64, the model takes \w+, which does not hold all"):
            (OnnxModel(saved(linear(), path)) if kind == TensorProto.DOUBLE else model)(taken + 0.1234567890123)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_attributions_are_derivatives_of_the_formula(path, runtime):
    model = OnnxModel(saved(smooth(), path), runtime=runtime)
    rows, step = torch.from_numpy(ROWS), 0.05
    found = attribute(model, rows, target=1, method="gradient", gradient=FiniteDifference(step, "central"))
    expected = torch.exp(rows.double()) * torch.from_numpy(WEIGHTS[:, 1].astype(np.float64)) * np.sinh(step) / step
    size = float((torch.exp(rows).sum(dim=1) * 4).max())
    assert (found - expected).abs().max() <= 8 * np.finfo(np.float32).eps * size / step
    # Of captum as well.
    integrated = captum.attr.IntegratedGradients(model)
    integrated.gradient_func = FiniteDifference(step, "central")
    maps = integrated.attribute(rows, target=1, n_steps=20)
    assert torch.allclose(maps.sum(dim=1), model(rows)[:, 1] - model(0 * rows)[:, 1], rtol=0.01, atol=0.01)
    assert choose_step(model, rows, 1, "central").regime == "smooth"


def test_an_exact_gradient_is_refused(path):
    model = OnnxModel(saved(linear(), path))
    with pytest.raises(ValueError, match=r"^gradient: .* there is no exact gradient; use FiniteDifference$"):
        attribute(model, ROWS, target=0)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_do_not_depend_on_the_batch(tmp_path, runtime):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(5))
    images = torch.randn(33, 3, 12, 12)
    network(images)
    place = tmp_path / "net.onnx"
    torch.onnx.export(
        network.eval(), (images,), place, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    model = OnnxModel(place, runtime=runtime)
    assert model.shape == (3, 12, 12)
    found = model(images)
    torch.testing.assert_close(found, network(images).detach(), rtol=1e-4, atol=1e-5)
    for size in (1, 7, 32):
        again = torch.cat([model(part) for part in images.split(size)])
        if runtime == "onnxruntime":
            assert torch.equal(again, found)
        torch.testing.assert_close(again, found, rtol=1e-5, atol=1e-6)
    assert torch.equal(
        OnnxModel(place, runtime=runtime, batch_size=7)(images), torch.cat([model(part) for part in images.split(7)])
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_results_last_and_threads_do_not_mix_them(path, runtime):
    model = OnnxModel(saved(linear(), path), runtime=runtime)
    first = model(ROWS)
    kept = first.copy()
    model(2 * ROWS)
    assert np.array_equal(first, kept)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda factor: model(factor * ROWS), np.arange(1, 33, dtype=np.float32)))
    assert all(np.array_equal(found[2**power - 1], 2**power * first) for power in range(6))


def test_one_output_of_several_is_taken(path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ArgMax", ["logits"], ["label"]),
    ]
    outputs = [port("label", None, TensorProto.INT64), port("logits", ["N", 3]), port("probabilities", ["N", 3])]
    saved(made(nodes, [port("x", ["N", 4])], outputs, {"w": WEIGHTS}), path)
    logits = OnnxModel(path, output="logits")(ROWS.astype(np.float64).astype(np.float32))
    assert np.abs(logits - ROWS @ WEIGHTS).max() <= ROUNDING.max()
    log = OnnxModel(path, output="probabilities", transform="log")(ROWS)
    expected = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    # A rounding of a probability, over it.
    assert np.allclose(log, expected, rtol=0, atol=1e-5)
    (one,) = {OnnxModel(saved(made(nodes, [port("x", ["N", 4])], outputs[:2], {"w": WEIGHTS}), path)).output}
    assert one == "logits"
    doubled = OnnxModel(path, transform=lambda found: 2 * found)(ROWS)
    assert np.array_equal(doubled, 2 * logits)


@pytest.mark.parametrize("by_row", [False, True])
def test_other_inputs_are_constants(path, by_row):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    inputs = [port("x", ["N", 4]), port("b", ["N", 3] if by_row else [3])]
    saved(made(nodes, inputs, [port("y", ["N", 3])], {"w": WEIGHTS}), path)
    model = OnnxModel(path, input="x", constants={"b": [1, 2, 3]})
    assert np.abs(model(ROWS) - (ROWS @ WEIGHTS + [1, 2, 3])).max() <= 2 * ROUNDING.max()
    assert pickle.loads(pickle.dumps(model))(ROWS).tolist() == model(ROWS).tolist()


def test_weights_among_the_inputs_are_not_inputs(path):
    model = linear()
    model.graph.input.append(port("w", [4, 3]))
    assert OnnxModel(saved(model, path)).input == "x"


def test_images_with_channels_last(path):
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("ReduceSum", ["m", "a"], ["y"], keepdims=0)]
    weights = np.arange(5 * 6 * 3, dtype=np.float32).reshape(5, 6, 3)
    saved(made(nodes, [port("x", ["N", 5, 6, 3])], [port("y", ["N", 3])], {"w": weights, "a": [1, 2]}), path)
    model = OnnxModel(path, channels_last=True)
    assert model.shape == (3, 5, 6)
    found = attribute(model, np.ones((1, 3, 5, 6), np.float32), target=2, gradient=FiniteDifference(1.0))
    expected = np.where(np.arange(3)[:, None, None] == 2, np.moveaxis(weights, -1, 0), 0)
    assert np.abs(found[0] - expected).max() <= 4 * np.finfo(np.float32).eps * weights.sum()
    helps = r"got shape \(1, 3, 5, 6\), the model takes \(N, 5, 6, 3\); channels_last=True is for"
    with pytest.raises(ModelError, match=helps):
        OnnxModel(path)(np.ones((1, 3, 5, 6), np.float32))


def test_a_model_is_pickled_copied_and_closed(path, tmp_path, monkeypatch):
    saved(linear(), path)
    monkeypatch.chdir(tmp_path)
    with OnnxModel("model.onnx", transform="log", batch_size=3) as model:
        monkeypatch.chdir("/")
        rows = 1 + 0.01 * ROWS  # with outputs above 0
        for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
            assert (other.path, other.transform, other.batch_size) == (path, "log", 3)
            assert np.array_equal(other(rows), model(rows))
            other.close()
    model.close()
    with pytest.raises(ModelError, match=r"^model\.onnx: is closed$"):
        model(ROWS)


def test_digests_are_of_all_files(path):
    kept_outside(linear(), path, "parts/weights.bin")
    model = OnnxModel(path)
    assert model.files == (path, path.parent / "parts/weights.bin")
    before = model.digests()
    assert list(before) == ["model.onnx", "parts/weights.bin"]
    content = bytearray((path.parent / "parts/weights.bin").read_bytes())
    content[0] ^= 1
    (path.parent / "parts/weights.bin").write_bytes(content)
    after = model.digests()
    assert [before[name] == after[name] for name in before] == [True, False]
    found = OnnxModel(path)(ROWS)
    assert not np.array_equal(found, model(ROWS))


def test_files_of_tensors_in_subgraphs_attributes_and_functions_are_found(path):
    def outside(name, location):
        tensor = TensorProto(name=name, data_type=F32, dims=[1], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        return tensor

    branch = helper.make_graph([helper.make_node("Identity", ["b"], ["o"])], "branch", [], [port("o", [1])])
    branch.initializer.append(outside("b", "branch.bin"))
    constant = helper.make_node("Constant", [], ["c"], value=outside("c", "constant.bin"))
    choice = helper.make_node("If", ["k"], ["y"], then_branch=branch, else_branch=branch)
    model = made([constant, choice], [port("x", ["N", 1])], [port("y", ["N", 1])])
    own = helper.make_node("Constant", [], ["f"], value=outside("f", "function.bin"))
    model.functions.append(helper.make_function("own", "F", [], ["f"], [own], [helper.make_opsetid("", 20)]))
    saved(model, path)
    assert sorted(own.name for own in read_onnx(path).external) == ["branch.bin", "constant.bin", "function.bin"]


def test_a_link_to_a_model_and_to_its_weights_is_followed(path, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    kept_outside(linear(), store / "a", "weights.bin")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/model.onnx").symlink_to(store / "a")
    (tmp_path / "snapshot/weights.bin").symlink_to(store / "weights.bin")
    found = OnnxModel(tmp_path / "snapshot/model.onnx")(ROWS)
    assert np.abs(found - ROWS @ WEIGHTS).max() <= ROUNDING.max()


def test_nothing_of_the_caller_is_changed(path):
    model = OnnxModel(saved(linear(), path))
    rows = ROWS[::2, ::-1]
    rows.flags.writeable = False
    before = rows.copy()
    found = model(rows)
    assert np.array_equal(rows, before)
    assert np.array_equal(found, model(before))
    assert torch.equal(model(torch.from_numpy(before).requires_grad_()), torch.from_numpy(found))


def test_outputs_that_are_not_finite_are_one_line(path):
    nodes = [helper.make_node("Log", ["x"], ["y"])]
    model = OnnxModel(saved(made(nodes, [port("x", ["N", 4])], [port("y", ["N", 4])]), path))
    with pytest.raises(ValueError, match=r"^model: output is nan for input 0"):
        attribute(model, -np.abs(ROWS), target=0, gradient=FiniteDifference(0.01), check_rows=False)
