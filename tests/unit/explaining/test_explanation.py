import json
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from approxgrad import explain
from approxgrad.explaining.command_line import main
from approxgrad.explaining.opened import opened_model, read_input
from approxgrad.explaining.picture import draw
from approxgrad.gradients.evaluating.rows import RowError
from problems import points
from stub_services import FEATURES, http_service

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")

SHAPE = (3, 8, 8)


class Counted(nn.Module):
    """A small smooth network that counts its inputs; inputs of any shape, four outputs."""

    def __init__(self, features=192):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weights", torch.randn(features, 4, generator=generator) / features**0.5)
        self.rows = 0

    def forward(self, x):
        self.rows += len(x)
        return torch.tanh(x.flatten(1) @ self.weights.to(x.dtype)) * torch.arange(1.0, 5)


def image(*shape):
    return points(*shape or SHAPE).float() / 2


# In Python


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "gradient"])
@pytest.mark.parametrize("budget", [60, 130, 1000])
def test_no_more_is_paid_than_was_allowed_and_all_of_it_is_told(method, budget):
    model = Counted().eval()
    found = explain(model, image(), 2, budget=budget, method=method)
    assert found.evaluations == model.rows <= budget
    assert found.budget == budget
    assert found.attribution.shape == SHAPE
    assert found.output == pytest.approx(float(model(image()[None])[0, 2]))
    assert 0 <= found.cosine_lower <= found.cosine <= found.cosine_upper <= 1
    assert found.agreement_lower <= found.agreement <= found.agreement_upper <= 1
    json.dumps(found.numbers(), allow_nan=False)


def test_with_enough_it_is_the_exact_attribution():
    model, x = Counted().double().eval(), image().double()
    found = explain(model, x, budget=1000, step=1e-5)
    points_ = x[None].clone().requires_grad_()
    outputs = model(points_)
    outputs[0, found.target].backward()
    torch.testing.assert_close(found.attribution, (x * points_.grad)[0], rtol=0, atol=1e-5)
    assert found.target == int(outputs.argmax())
    assert (found.cosine, found.agreement) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    "given", [image(), image().requires_grad_(), image()[None], image().numpy(), image()[None].numpy()]
)
def test_images_come_alone_or_as_a_batch_of_one_and_as_tensors_or_arrays(given):
    found = explain(Counted().eval(), given, budget=100)
    assert type(found.attribution) is type(given)
    assert tuple(found.attribution.shape) == SHAPE == found.image.shape


@pytest.mark.parametrize("shape", [(12,), (4, 9), (1, 5, 7), (2, 3, 4, 4)])
def test_other_inputs_are_explained_and_drawn(shape):
    model = Counted(int(np.prod(shape))).eval()
    given = image(*shape) if len(shape) < 4 else image(*shape)[None]
    found = explain(model, given, budget=80)
    assert tuple(found.attribution.shape) == shape
    assert draw(found).axes


class Counting:
    """A function that counts the rows that it is given."""

    def __init__(self, function):
        self.function, self.rows = function, 0

    def __call__(self, x):
        self.rows += len(x)
        return self.function(x)


def table_model():
    return nn.Sequential(nn.Linear(12, 8), nn.Softplus(), nn.Linear(8, 3)).eval()


def series_model():
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(54, 3)).eval()


@pytest.mark.parametrize(
    ("network", "shape", "target"),
    [(table_model(), (12,), None), (table_model(), (12,), 1), (series_model(), (2, 20), None)],
)
def test_a_batch_of_one_is_taken_as_such_if_the_model_takes_it_only_so(network, shape, target):
    model = Counting(network)
    alone = explain(model, image(*shape), target, budget=60)
    model.rows = 0
    batch = explain(model, image(*shape)[None], target, budget=60)
    assert batch.evaluations == model.rows <= 60
    assert batch.attribution.shape == batch.image.shape == shape
    assert batch.target == alone.target
    torch.testing.assert_close(batch.attribution, alone.attribution)


def test_what_fits_alone_is_no_batch():
    given = image(1, 5, 7)
    found = explain(Counted(35).eval(), given, budget=80)
    assert found.attribution.shape == (1, 5, 7)
    with pytest.raises(ValueError, match=r"target: \[9\] is out of range, one output of the model has shape \(4,\)"):
        explain(Counted(35).eval(), given, 9, budget=80)
    with pytest.raises(ValueError, match=r"row of shape \(1, 13\)"):
        explain(table_model(), image(1, 13))


def test_a_model_with_one_output_needs_no_target():
    found = explain(lambda x: x.square().flatten(1).sum(dim=1), image().double(), budget=300)
    assert found.target is None
    assert "the only output" in str(found)


def test_a_constant_model_has_no_predicted_quality():
    found = explain(lambda x: torch.ones(len(x), 2), image(), budget=100)
    assert "every derivative is 0" in str(found)
    assert found.numbers()["agreement"] is None
    draw(found)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budget": 9}, ValueError, "budget: 9 evaluations are too few, .*check_rows=False takes fewer$"),
        ({"budget": 1}, ValueError, "budget: expected at least 2"),
        ({"target": 9}, ValueError, r"target: \[9\] is out of range"),
        ({"target": -1}, ValueError, r"target: \[-1\] is out of range"),
        ({"method": "integrated_gradients_published"}, ValueError, "method: got 'integrated_gradients_published'"),
        (
            {"method": None},
            ValueError,
            "method: got None, expected one of gradient, saliency, input_x_gradient, integrated_gradients$",
        ),
        ({"budget": None}, ValueError, "budget: expected an integer of at least 1, got None"),
        ({"budget": 100.0}, ValueError, r"budget: expected an integer of at least 1, got 100\.0"),
        ({"method": "saliency", "baselines": 0.5}, TypeError, "baselines: saliency has no path that begins there"),
        (
            {"method": "integrated_gradients", "baselines": (torch.zeros(SHAPE),)},
            TypeError,
            r"baselines: expected a number or a tensor, got \(tensor[^\n]{,60}$",
        ),
        ({"method": "occlusion"}, ValueError, "method: got 'occlusion'"),
        (
            {"budget": 10, "check_rows": False},
            ValueError,
            "budget: 10 .* looking at the model takes 10 and a derivative 2$",
        ),
    ],
)
def test_arguments_that_are_not_valid(arguments, error, message):
    with pytest.raises(error, match=message):
        explain(Counted().eval(), image(), **arguments)


def test_images_that_are_not_valid():
    with pytest.raises(ValueError, match="image: expected a single one, got shape"):
        explain(Counted().eval(), torch.stack([image(), image()]))
    with pytest.raises(TypeError, match="image: expected a tensor or an array, got str"):
        explain(Counted().eval(), "ship.png")
    with pytest.raises(RowError):
        explain(lambda x: torch.rand(len(x), 2), image())
    with pytest.raises(TypeError, match=r"model: expected a callable, got str; OnnxModel\(path\)"):
        explain("model.onnx", image())


def test_probabilities_are_told_and_logits_are_not():
    model = Counted().eval()
    with pytest.warns(UserWarning, match="outputs: sum to 1") as told:
        explain(nn.Sequential(model, nn.Softmax(dim=1)).eval(), image(), budget=60)
    assert {own.filename for own in told if "sum to 1" in str(own.message)} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(model, image(), budget=130)


def test_a_quality_that_is_not_reached_is_told():
    with pytest.warns(UserWarning, match=r"quality: .* cosine of 0\.\d\d, not 0\.99"):
        explain(Counted().eval(), image(), budget=60, quality=0.99)


def test_a_map_of_zeros_is_told():
    found = explain(lambda x: torch.floor(x.flatten(1) / 100), image(), 0, budget=300)
    assert "every derivative is 0" in str(found)


@pytest.mark.parametrize(
    ("method", "value", "baselines"),
    [("input_x_gradient", 0, None), ("integrated_gradients", 0, None), ("integrated_gradients", 1, 1.0)],
)
@pytest.mark.parametrize("budget", [25, 100, 400])  # without probes, with some, and for all directions
def test_a_map_of_zeros_whose_derivatives_are_not_is_told_apart(method, value, baselines, budget):
    model, given = Counted().eval(), torch.full(SHAPE, float(value))
    found = explain(model, given, 1, budget=budget, method=method, baselines=baselines)
    assert not found.values.any()
    assert "the map is 0" in str(found)
    assert "every derivative" not in str(found)
    json.dumps(found.numbers(), allow_nan=False)


def test_a_budget_may_be_an_integer_of_numpy():
    found = explain(Counted().eval(), image(), budget=np.int64(60))
    assert found.evaluations <= 60
    json.dumps(found.numbers())


def test_a_path_begins_where_it_is_told_to():
    model, given = Counted().double().eval(), image().double()
    start = torch.full((3, 1, 1), 0.25).double()
    options = {"budget": 20_000, "method": "integrated_gradients", "step": 1e-5}
    found = explain(model, given, 1, baselines=start, **options)
    ends = model(torch.stack([given, start.expand(SHAPE)]))[:, 1]
    assert float(found.attribution.sum()) == pytest.approx(float(ends[0] - ends[1]), rel=1e-3)
    assert not torch.allclose(found.attribution, explain(model, given, 1, **options).attribution, rtol=0.01)


# In the terminal


@pytest.fixture
def script(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript with every one
        torch.jit.trace(Counted().eval(), image()[None]).save(str(tmp_path / "model.pt"))
    return tmp_path / "model.pt"


def picture_file(folder):
    pixels = np.random.default_rng(0).integers(0, 255, (10, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder / "picture.png"


def test_a_picture_and_the_numbers_beside_it(script, tmp_path, capsys):
    output = tmp_path / "maps" / "map.png"
    words = [script, picture_file(tmp_path), "--shape", 3, 8, 8, "--budget", 120, "--mean", 0.5, "--std", 0.2]
    assert main(["explain", *map(str, words), "--output", str(output)]) == 0
    said = capsys.readouterr()
    assert "Gradient × Input of output" in said.out
    with Image.open(output) as drawn:
        assert min(drawn.size) > 300
    numbers = json.loads(output.with_suffix(".json").read_text())
    assert numbers["evaluations"] <= 120
    assert np.load(output.with_suffix(".npy"), allow_pickle=False).shape == SHAPE


def test_images_are_scaled_cut_and_normalised(tmp_path):
    found = read_input(picture_file(tmp_path), SHAPE, mean=[0.5, 0.4, 0.3], std=[0.2])
    assert (found.shape, found.dtype) == (SHAPE, np.float32)
    plain = read_input(tmp_path / "picture.png", SHAPE)
    assert 0 <= plain.min() < plain.max() <= 1
    np.testing.assert_allclose(found, (plain - np.reshape([0.5, 0.4, 0.3], (3, 1, 1))) / 0.2, rtol=1e-5, atol=1e-6)


def test_a_model_of_integers_takes_pixels(tmp_path):
    found = read_input(picture_file(tmp_path), (3, 10, 12), integers=True)
    with Image.open(tmp_path / "picture.png") as drawn:
        np.testing.assert_array_equal(found, np.asarray(drawn).transpose(2, 0, 1).astype(np.float32))


def test_weights_of_an_architecture(tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import get_model

    network = get_model("squeezenet1_1", weights=None, num_classes=7)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    found = opened_model(str(tmp_path / "weights.safetensors"), (3, 32, 32), "squeezenet1_1")
    rows = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(found(rows), network.eval()(rows))


def test_onnx_files_say_their_shape(tmp_path, capsys):
    onnx_models = pytest.importorskip("onnx_models")
    onnx_models.saved(onnx_models.linear(), tmp_path / "linear.onnx")
    np.save(tmp_path / "row.npy", np.array([1.0, 2.0, 3.0, 4.0], np.float32))
    words = [tmp_path / "linear.onnx", tmp_path / "row.npy", "--output", tmp_path / "map.svg", "--target", 1]
    assert main(["explain", *map(str, words)]) == 0
    found = np.load(tmp_path / "map.npy")
    np.testing.assert_allclose(found, np.array([1, 2, 3, 4]) * onnx_models.WEIGHTS[:, 1], rtol=1e-4)
    assert "agreement with the whole map 1.00" in capsys.readouterr().out


def test_services_are_asked_for_no_more_rows_than_the_budget(tmp_path, capsys):
    np.save(tmp_path / "row.npy", np.arange(FEATURES, dtype=np.float64) / 4)
    with http_service() as (service, address):
        words = [address, tmp_path / "row.npy", "--budget", 60, "--model-name", "m", "--output", tmp_path / "m.png"]
        code = main(["explain", *map(str, words)])
    assert code == 0, capsys.readouterr().err
    numbers = json.loads((tmp_path / "m.json").read_text())
    # Beside the rows of the budget those that tell whether the service is still the same.
    assert numbers["evaluations"] + 16 >= sum(service.asked) >= numbers["evaluations"] <= 60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.onnx", "picture.png"], r"nothing\.onnx: no such file"),
        (["nothing.pt", "picture.png"], r"nothing\.pt: there is no such file"),
        (["picture.png", "picture.png", "--shape", "3", "8", "8"], r"picture\.png: is no TorchScript file"),
        (["model.pt", "picture.png"], r"picture\.png: is an image, and the model does not say .* give --shape"),
        (["model.pt", "picture.png", "--shape", "5"], r"is an image, but the model takes inputs of shape \(5,\)"),
        (["model.pt", "model.pt", "--shape", "3", "8", "8"], r"model\.pt: is not an image"),
        (["model.pt", "absent.png", "--shape", "3", "8", "8"], r"absent\.png: cannot be read"),
        (["model.pt", "picture.png", "--shape", "3", "8", "8", "--mean", "1", "2"], "mean: expected one number or 3"),
        (["model.pt", "picture.png", "--shape", "3", "9", "9"], "model: fails for 1 torch.float32 row of shape"),
        (["model.pt", "picture.png", "--shape", "3", "8", "8", "--budget", "9"], "budget: 9 evaluations are too few"),
        (["model.pt", "picture.png", "--shape", "3", "8", "8", "--spectrum", "model.pt"], "is not a spectrum"),
        (["model.pt", "picture.png", "--transform", "log"], "transform: for services and ONNX files only"),
        (["model.pt", "picture.png", "--output", "map"], r"output: expected a name that ends in \.png, \.svg, \.pdf"),
        (["model.pt", "picture.png", "--architecture", "magic"], r"model\.pt: "),
        (["model.pt", "picture.png", "--output", "folder.png"], r"folder\.png: cannot be written \(is a folder\)"),
        (["model.pt", "picture.png", "--shape", "3", "-8", "8"], "shape: expected positive sizes, got 3 -8 8"),
        (["model.pt", "picture.png", "--shape", "3", "8", "8", "--mean", "124"], r"mean: .* got 124\.0; divide .* 255"),
        (["model.pt", "picture.png", "--shape", "3", "8", "8", "--std", "0"], r"std: expected numbers above 0 to 1"),
        (["model.pt", "row.npy", "--std", "0.5"], r"std: is for image files; the array in row\.npy"),
        (["model.pt", "text.npy"], r"text\.npy: holds <U1, expected real numbers"),
        (
            ["model.onnx", "row.npy", "--architecture", "cnn"],
            r"architecture: is for files of weights, not for model\.onnx",
        ),
        (["model.pt", "row.npy", "--spectrum", "none.npz"], r"none\.npz: no such file"),
        (["model.pt", "picture.png", "--shape", "3", "8", "8", "--budget", "9"], "--no-row-check takes fewer"),
        (["model.pt", "row.npy", "--shape", "3", "9", "9"], r"row\.npy: has shape \(3, 8, 8\), expected \(3, 9, 9\)$"),
        (["model.pt", "last.npy"], r"model: fails .*\(RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (["model.pt", "row.npy", "--outputs", "4"], "outputs: is for weights of an architecture"),
    ],
)
def test_faults_are_told_in_one_line(words, message, script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture_file(tmp_path)
    (tmp_path / "folder.png").mkdir()
    np.save("row.npy", np.ones(SHAPE, np.float32))
    np.save("last.npy", np.ones((8, 8, 4), np.float32))
    np.save("text.npy", np.array(["a"]))
    assert main(["explain", *words]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("approxgrad: ")
    assert len(said.splitlines()) == 1
    assert re.search(message, said), said
    assert not (tmp_path / "map.png").exists()


@pytest.mark.parametrize(
    ("read", "output", "spoiled"),
    [("picture.png", "picture.png", "picture.png"), ("map.npy", "map.png", "map.npy"), ("link.npy", "m.png", "m.npy")],
)
def test_no_file_that_is_read_is_written_over(read, output, spoiled, script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture_file(tmp_path)
    for name in ("map.npy", "m.npy"):
        np.save(name, np.ones(SHAPE, np.float32))
    (tmp_path / "link.npy").symlink_to("m.npy")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["explain", "model.pt", read, "--shape", "3", "8", "8", "--budget", "60", "--output"]
    assert main([*words, output]) == 1
    assert capsys.readouterr().err == (
        f"approxgrad: output: {spoiled} would be written over, which is read here; name another picture\n"
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    # What an earlier call wrote is no input.
    assert main([*words, "other.png"]) == main([*words, "other.png"]) == 0


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 8, 8)])
def test_arrays_come_alone_or_as_a_batch_of_one(shape, script, tmp_path):
    np.save(tmp_path / "image.npy", np.ones(shape, np.float32))
    words = [script, tmp_path / "image.npy", "--shape", 3, 8, 8, "--budget", 60, "--output", tmp_path / "map.png"]
    assert main(["explain", *map(str, words)]) == 0
    assert np.load(tmp_path / "map.npy").shape == SHAPE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "cat"], "--target: expected the number of an output, from 0 on, got 'cat'"),
        (["--budget", "1e3"], "--budget: invalid int value: '1e3'"),
        (["--depth", "3"], "unrecognized arguments: --depth 3"),
    ],
)
def test_words_that_are_no_options_are_told_in_one_line(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["explain", "model.onnx", "picture.png", *words])
    assert capsys.readouterr().err == f"approxgrad: {message}; --help lists all options\n"


def test_pictures_with_the_channels_last_are_told(tmp_path, capsys):
    onnx_models = pytest.importorskip("onnx_models")
    from onnx import helper

    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0), helper.make_node("Unsqueeze", ["y", "a"], ["z"])]
    nodes[0].input.append("axes")
    weights = {"axes": np.array([1, 2, 3]), "a": np.array([1])}
    shape = ["N", 8, 8, 3]
    model = onnx_models.made(nodes, [onnx_models.port("x", shape)], [onnx_models.port("z", ["N", 1])], weights)
    onnx_models.saved(model, tmp_path / "last.ONNX")
    with (tmp_path / "last.NPY").open("wb") as file:
        np.save(file, np.ones((8, 8, 3), np.float32))
    words = [tmp_path / "last.ONNX", tmp_path / "last.NPY", "--budget", 40, "--output", tmp_path / "map.png"]
    assert main(["explain", *map(str, words)]) == 0
    assert "--channels-last is for such models" in capsys.readouterr().err
