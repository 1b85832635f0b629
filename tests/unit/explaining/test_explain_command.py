"""Explaining in the terminal."""

import json
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from approxgrad.explaining.command_line import main
from approxgrad.explaining.inputs import read_input
from approxgrad.explaining.opened import opened_model
from explained import SHAPE, Counted, image, picture_file
from stub_services import FEATURES, http_service

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")


@pytest.fixture
def script(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript with every one
        torch.jit.trace(Counted().eval(), image()[None]).save(str(tmp_path / "model.pt"))
    return tmp_path / "model.pt"


def test_a_picture_and_the_numbers_beside_it(script, tmp_path, capsys):
    output = tmp_path / "maps" / "map.png"
    words = [script, picture_file(tmp_path), "--shape", 3, 8, 8, "--budget", 120, "--mean", 0.5, "--std", 0.2]
    assert main(["explain", *map(str, words), "--output", str(output)]) == 0
    said = capsys.readouterr()
    files = [output, *(output.with_suffix(ending) for ending in (".json", ".npy"))]
    assert said.out.endswith("{}, with the numbers in {} and the map in {}\n".format(*files))
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
    said = capsys.readouterr().out
    assert "predicted correlation with the map of unlimited evaluations: 1.00 (90% interval 1.00 to 1.00)" in said


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
        (["nothing.pt", "picture.png"], r"nothing\.pt: no such file$"),
        (
            ["notes", "picture.png", "--shape", "3", "8", "8"],
            r"notes: is no TorchScript file; for weights, name their --arch",
        ),
        (["model.pt", "picture.png"], r"picture\.png: is an image, and the model does not say .* give --shape"),
        (
            ["model.pt", "picture.png", "--shape", "5"],
            r"shape: picture\.png is an image, expected channels \(1 or 3\), .* got 5$",
        ),
        (["model.pt", "notes", "--shape", "3", "8", "8"], r"notes: is not an image"),
        (["model.pt", "absent.png", "--shape", "3", "8", "8"], r"approxgrad: absent\.png: no such file$"),
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
    (tmp_path / "notes").write_text("some notes")
    assert main(["explain", *words]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("approxgrad: ")
    assert len(said.splitlines()) == 1
    assert re.search(message, said), said
    assert not (tmp_path / "map.png").exists()


@pytest.mark.parametrize(
    ("read", "output", "told"),
    [
        ("picture.png", "picture.png", "picture.png, where the picture would be written, is the input"),
        ("map.npy", "map.png", "map.npy, where the map would be written beside map.png, is the input"),
        ("link.npy", "m.png", "m.npy, where the map would be written beside m.png, is the input"),
    ],
)
def test_no_file_that_is_read_is_written_over(read, output, told, script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture_file(tmp_path)
    for name in ("map.npy", "m.npy"):
        np.save(name, np.ones(SHAPE, np.float32))
    (tmp_path / "link.npy").symlink_to("m.npy")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["explain", "model.pt", read, "--shape", "3", "8", "8", "--budget", "60", "--output"]
    assert main([*words, output]) == 1
    assert capsys.readouterr().err == f"approxgrad: output: {told}; name another picture\n"
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
        (["--budget", "1e3"], "--budget: expected a whole number, got '1e3'"),
        (["--budget", "300.5"], "--budget: expected a whole number, got '300.5'"),
        (["--step", "small"], "--step: expected a number, got 'small'"),
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
