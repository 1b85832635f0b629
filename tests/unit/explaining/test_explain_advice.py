"""What the terminal says to somebody who explains a model for the first time."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from approxgrad.explaining.command_line import main, parser
from approxgrad.explaining.inputs import input_shape
from explained import SHAPE, picture_file
from stub_services import FEATURES, http_service

onnx_models = pytest.importorskip("onnx_models")


def onnx_sum(path, shape):
    """Save a model that sums up inputs of a shape."""
    from onnx import helper

    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0),
        helper.make_node("Unsqueeze", ["y", "a"], ["z"]),
    ]
    weights = {"axes": np.arange(1, len(shape) + 1), "a": np.array([1])}
    ports = [[onnx_models.port("x", ["N", *shape])], [onnx_models.port("z", ["N", 1])]]
    onnx_models.saved(onnx_models.made(nodes, *ports, weights), path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with models and inputs."""
    monkeypatch.chdir(tmp_path)
    picture_file(tmp_path)
    onnx_sum(tmp_path / "model.onnx", SHAPE)
    np.save("row.npy", np.ones(SHAPE, np.float32))
    return tmp_path


@pytest.fixture
def said(capsys):
    """What the terminal says: a function of its words, for calls that fail."""

    def call(*words):
        assert main(["explain", *map(str, words)]) == 1
        return capsys.readouterr().err.removesuffix("\n")

    return call


# Libraries

WITHOUT = """
import sys
sys.modules[{!r}] = None
from approxgrad.explaining.command_line import main
raise SystemExit(main(["explain", "model.onnx", {!r}, "--budget", "60"]))
"""


def without(library, read):
    code = WITHOUT.format(library, read)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_file_of_onnx_needs_no_library_for_weights(folder):
    done = without("safetensors", "picture.png")
    assert (done.returncode, (folder / "map.png").is_file()) == (0, True), done.stderr


@pytest.mark.parametrize(("library", "read"), [("matplotlib", "row.npy"), ("PIL", "picture.png")])
def test_a_library_that_is_missing_is_told_with_how_it_comes(library, read, folder):
    done = without(library, read)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    told = rf"approxgrad: .*\b{library}\b.*; it comes with: pip install '\.\[study\]' in a clone of approxgrad"
    assert re.fullmatch(told, line), line


# Names of files


@pytest.mark.parametrize("words", [("picture.png", "model.onnx"), ("row.npy", "model.pt"), ("photo.JPG", "row.npy")])
def test_a_model_and_an_input_in_the_other_order_are_told(words, folder, said):
    line = f"approxgrad: {words[0]}: is named like an input, expected a model; the first argument is the model, "
    assert said(*words) == f"{line}the second its input"


def test_two_models_are_told(folder, said):
    line = "approxgrad: model.onnx: is named like a model, expected an input; the first argument is the model, "
    assert said("model.onnx", "model.onnx") == f"{line}the second its input"


def test_an_input_that_is_no_file_is_told_before_a_service_is_asked(folder, said):
    (folder / "photos").mkdir()
    with http_service() as (service, address):
        assert said(address, "my_dgo.jpg") == "approxgrad: my_dgo.jpg: no such file"
        line = "approxgrad: photos: is a folder, expected an image file or an array of one input (.npy)"
        assert said(address, "photos") == line
    assert not service.asked


@pytest.mark.parametrize("options", [[], ["--architecture", "cnn", "--shape", 3, 8, 8]])
def test_a_folder_is_no_model(options, folder, said):
    (folder / "models").mkdir()
    line = "approxgrad: models: is a folder, expected an ONNX file, a TorchScript file, or weights"
    assert said("models", "picture.png", *options) == line


def scripted(path):
    torch.jit.trace(torch.nn.Linear(4, 2), torch.ones(1, 4)).save(str(path))
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore")  # torch announces the end of TorchScript
def test_files_that_are_no_script_are_told_without_the_inner_life_of_torch(folder, said):
    torch.save(torch.nn.Linear(4, 2), "pickled.pt")
    torch.save({"weight": torch.ones(2)}, "state.pt")
    whole = scripted(folder / "whole.pt")
    (folder / "torn.pt").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (folder / "spoiled.pt").write_bytes(
        whole[:middle] + bytes(255 - own for own in whole[middle : middle + 200]) + whole[middle + 200 :]
    )
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.pt").write_bytes(b"<!DOCTYPE html><html></html>")
    held = "holds weights or a pickled model, and no TorchScript; for weights, name their --architecture"
    told = {
        "pickled": held,
        "state": held,
        "torn": "is damaged: its end is missing",
        "spoiled": "is damaged",
        "empty": "is no TorchScript file; it is empty",
        "page": "is no TorchScript file; it is a page of the web; was the file downloaded through one?",
    }
    for name, words in told.items():
        assert said(f"{name}.pt", "picture.png") == f"approxgrad: {name}.pt: {words}"


# Shapes

LAST = "channels-last: the model takes 3 8 8, channels first; leave --channels-last out"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["picture.png", "--channels-last"], LAST),
        (["picture.png", "--channels-last", "--shape", 3, 8, 8], LAST),
        (
            ["picture.png", "--shape", 8, 8, 3],
            "shape: got 8 8 3, the model takes 3 8 8, which are channels, height and width; leave --shape out",
        ),
        (["picture.png", "--shape", 3, 16, 16], "shape: got 3 16 16, the model takes 3 8 8; leave --shape out"),
        (
            ["last.npy"],
            "last.npy: has shape (8, 8, 3), expected (3, 8, 8); its channels are last, expected them first: "
            "numpy.moveaxis(array, -1, 0)",
        ),
        (
            ["row.npy", "--channels-last"],
            "row.npy: has shape (3, 8, 8), expected (8, 3, 8); the model takes the channels first, so leave "
            "--channels-last out",
        ),
        (["flat.npy"], "flat.npy: has shape (192,), expected (3, 8, 8)"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_with_what_does(words, line, folder, said):
    np.save("last.npy", np.ones((8, 8, 3), np.float32))
    np.save("flat.npy", np.ones(192, np.float32))
    assert said("model.onnx", *words) == f"approxgrad: {line}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--shape", 3, 8, 8],
            "shape: got 3 8 8, the model takes 8 8 3; if these are height, width and channels, add --channels-last",
        ),
        (
            [],
            "picture.png: is an image, but the model takes inputs of shape (8, 8, 3); if these are height, width and "
            "channels, add --channels-last",
        ),
        (
            ["--channels-last", "--shape", 8, 8, 3],
            "shape: got 8 8 3, the model takes 3 8 8, which are channels, height and width; leave --shape out",
        ),
    ],
)
def test_a_model_with_the_channels_last_is_told(words, line, folder, said):
    onnx_sum(folder / "last.onnx", (8, 8, 3))
    assert said("last.onnx", "picture.png", *words) == f"approxgrad: {line}"


def test_a_model_with_the_channels_last_is_explained_with_its_option(folder):
    onnx_sum(folder / "last.onnx", (8, 8, 3))
    for options in ([], ["--shape", "3", "8", "8"]):
        assert main(["explain", "last.onnx", "picture.png", "--channels-last", "--budget", "60", *options]) == 0
        assert np.load("map.npy").shape == SHAPE


def test_a_shape_fills_in_what_a_model_leaves_open():
    assert input_shape((3, None, None), (3, 8, 8)) == (3, 8, 8)
    assert input_shape((3, None, None), None) is None
    assert input_shape(None, (3, 8, 8)) == (3, 8, 8)
    with pytest.raises(ValueError, match=r"^shape: got 1 8 8, the model takes 3 any any; leave --shape out$"):
        input_shape((3, None, None), (1, 8, 8))


def test_a_shape_that_does_not_fit_a_service_is_told(folder, said):
    with http_service() as (_, address):
        line = said(address, "row.npy", "--model-name", "m", "--shape", FEATURES + 1)
    assert line == "approxgrad: shape: got shape (1, 7), the model takes (N, 6); leave --shape out"


# Options


def test_what_messages_recommend_is_spelled_as_an_option(folder, said):
    assert said("model.onnx", "row.npy", "--model-output", "logits").startswith(
        "approxgrad: --model-output: got 'logits'"
    )


def test_no_warning_speaks_of_what_the_terminal_has_not(folder, capsys):
    from onnx import helper

    # A gradient of noise, of which low frequencies hold little.
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    ports = [[onnx_models.port("x", ["N", 3, 32, 32])], [onnx_models.port("y", ["N", 2])]]
    weights = {"w": np.random.default_rng(0).normal(size=(3072, 2)).astype(np.float32)}
    onnx_models.saved(onnx_models.made(nodes, *ports, weights), folder / "noise.onnx")
    assert main(["explain", "noise.onnx", "picture.png", "--budget", "60"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"approxgrad: budget: \d\d evaluations \(what the checks of the model leave\) are of little use here, where "
        r"the estimate is predicted to have a cosine of 0\.\d\d with the whole gradient; give a larger --budget",
        line,
    ), line


def test_help_is_for_people_who_have_not_read_the_documents(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["explain", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "Needs the extra `study`: pip install '.[study]' in a clone of approxgrad.",
        "an image is resized in proportion until it just covers height and width of the model's inputs, and cropped",
        "attribution method, the kind of map (default: input_x_gradient)",
        "cosine with the whole one, above 0 and below 1 (default: the whole budget is spent)",
        "such as 3 32 32",
        "do not check that an output depends on its own input only",
    ):
        assert words in text
