"""ONNX files and arguments that cannot be right: one line each, which says what the model expects."""

import builtins
import os
import re

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from approxgrad import OnnxModel
from approxgrad.models.kind import ModelError
from onnx_models import F32, WEIGHTS, kept_outside, linear, made, port, saved

ROWS = np.ones((2, 4), np.float32)
X, Y = [port("x", ["N", 4])], [port("y", ["N", 3])]
MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])
OWN = {"w": WEIGHTS}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def changed(**fields):
    model = linear()
    for name, value in fields.items():
        setattr(model, name, value)
    return model


def content(data):
    return lambda path: path.write_bytes(data)


def file(model):
    return lambda path: saved(model(), path)


def outside(location="w.bin", then=lambda folder: None, write=True):
    def write_files(path):
        kept_outside(linear(), path, location, write=write)
        then(path.parent)

    return write_files


def linked(folder):
    elsewhere = folder.parent / f"{folder.name}-elsewhere.bin"
    (folder / "w.bin").rename(elsewhere)
    (folder / "w.bin").symlink_to(elsewhere)


def sequence():
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(F32, []))
    output = helper.make_value_info("p", helper.make_sequence_type_proto(kind))
    nodes = [MATMUL, helper.make_node("ZipMap", ["y"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])]
    return made(nodes, X, [port("label", ["N"], TensorProto.INT64), output], OWN, opsets={"ai.onnx.ml": 3})


def two_inputs():
    nodes = [MATMUL, helper.make_node("Add", ["y", "b"], ["z"])]
    return made(nodes, [*X, port("b", [3])], [port("z", ["N", 3])], OWN)


def two_outputs():
    return made([MATMUL, helper.make_node("Exp", ["y"], ["z"])], X, [*Y, port("z", ["N", 3])], OWN)


def own_operator():
    node = helper.make_node("Foo", ["x"], ["y"], domain="own.ops")
    return made([node], X, Y, opsets={"own.ops": 1})


FILES = [
    ("nothing there", lambda path: None, {}, "model.onnx: no such file"),
    ("a folder", lambda path: path.mkdir(), {}, "is a folder, expected an ONNX file"),
    ("an empty file", content(b""), {}, "model.onnx: is empty"),
    ("a text", content(b"a text, not a model"), {}, "is damaged or not an ONNX file"),
    ("a pickle", content(b"\x80\x04\x95abc"), {}, "is damaged or not an ONNX file"),
    ("a cut file", content(linear().SerializeToString()[:-20]), {}, "is damaged or not an ONNX file"),
    ("a pointer of Git LFS", content(LFS), {}, "is damaged or not an ONNX file; it is a pointer of Git LFS"),
    ("weights without a model", file(lambda: made([], [], [], OWN)), {}, "is not an ONNX file with a graph"),
    ("a version of tomorrow", file(lambda: changed(ir_version=99)), {}, "onnxruntime cannot load it (.*IR version: 99"),
    ("operators of tomorrow", file(lambda: made([MATMUL], X, Y, OWN, opsets={"": 99})), {}, "cannot load it (.*99"),
    ("operators of one's own", file(own_operator), {}, "cannot load it (.*own.ops:Foo"),
    ("... for OpenVINO", file(own_operator), {"runtime": "openvino"}, "OpenVINO cannot load it (.*own.ops.Foo"),
    (
        "weights left behind",
        outside(write=False),
        {},
        "model.onnx: keeps weights in w.bin, which is not in .*; move or copy both files together",
    ),
    (
        "weights cut off",
        outside(then=lambda folder: os.truncate(folder / "w.bin", 40)),
        {},
        "keeps weights in w.bin, which has 40 bytes, expected at least 48",
    ),
    (
        "weights in Git LFS",
        outside(then=lambda folder: (folder / "w.bin").write_bytes(LFS[:47])),
        {},
        "has 47 bytes, expected at least 48; it is a pointer of Git LFS",
    ),
    ("weights up the path", outside("../w.bin", write=False), {}, "tensor w is in '../w.bin', expected a file in the"),
    ("weights at a place", outside("/etc/passwd", write=False), {}, "tensor w is in '/etc/passwd', expected a file in"),
    ("weights nowhere", outside("", write=False), {}, "tensor w is in '.', expected a file in the model's own folder"),
    ("weights behind a link", outside(then=linked), {}, "keeps weights in w.bin, a link to .*, expected a file in the"),
    ("no inputs", file(lambda: made([MATMUL], [], Y, OWN | {"x": ROWS})), {}, "model.onnx: takes no inputs"),
    (
        "two inputs",
        file(two_inputs),
        {},
        "takes x (float32, shape (N, 4)), b (float32, shape (3)); name the explained one as input=, and give values "
        "of the others as constants={name: array}",
    ),
    ("a constant too few", file(two_inputs), {"input": "x"}, "constants: lack a value of b (float32, shape (3))"),
    (
        "a constant of another shape",
        file(two_inputs),
        {"constants": {"b": [1, 2]}},
        "constants: b has shape (2,), the model takes b (float32, shape (3))",
    ),
    (
        "a constant of text",
        file(two_inputs),
        {"constants": {"b": ["a"] * 3}},
        "constants: b holds <U1, the model takes",
    ),
    ("no such constant", file(two_inputs), {"constants": {"c": 1}}, "constants: got 'c', the model's inputs are x (fl"),
    (
        "constants alone",
        file(two_inputs),
        {"input": "b", "constants": {"x": 1, "b": 1}},
        "constants: hold b, expected all inputs but the explained one",
    ),
    ("no such input", file(linear), {"input": "X"}, "input: got 'X', the model's inputs are x (float32, shape (N, 4))"),
    ("no such output", file(linear), {"output": "z"}, "output: got 'z', the model's outputs are y (float32, shape (N"),
    (
        "two outputs",
        file(two_outputs),
        {},
        "returns y (float32, .*), z (float32, .*); name the explained one as output=",
    ),
    (
        "maps for outputs",
        file(sequence),
        {},
        "expected a tensor of float numbers; for a classifier of skl2onnx convert it with options={'zipmap': False}",
    ),
    (
        "labels for outputs",
        file(lambda: made([helper.make_node("ArgMax", ["x"], ["y"])], X, [port("y", None, TensorProto.INT64)])),
        {},
        "output y (int64, shape (?)), expected a tensor of float numbers",
    ),
    (
        "text for inputs",
        file(
            lambda: made(
                [helper.make_node("Identity", ["x"], ["y"])], [port("x", ["N", 4], TensorProto.STRING)], Y, OWN
            )
        ),
        {},
        "input x (string, shape (N, 4)), expected a tensor of real numbers with an axis of rows",
    ),
    (
        "a number for inputs",
        file(lambda: made([helper.make_node("Identity", ["x"], ["y"])], [port("x", [])], [port("y", [])])),
        {},
        "input x (float32, shape ()), expected a tensor of real numbers with an axis of rows",
    ),
    (
        "float64 for OpenVINO",
        file(lambda: linear(dtype=np.float64, kind=TensorProto.DOUBLE)),
        {"runtime": "openvino"},
        "takes float64, which OpenVINO computes in float32; take runtime='onnxruntime'",
    ),
    ("another batch", file(lambda: linear(8)), {"batch_size": 4}, "batch_size: got 4, the model takes batches of 8; l"),
    (
        "another runtime",
        file(linear),
        {"runtime": "tensorrt"},
        "runtime: got 'tensorrt', expected onnxruntime or openv",
    ),
    ("no threads", file(linear), {"threads": 0}, "threads: expected a positive integer, got 0"),
    (
        "another transform",
        file(linear),
        {"transform": "exp"},
        "transform: got 'exp', expected log, logit or a function",
    ),
    (
        "a provider that is not there",
        file(linear),
        {"providers": ["NoneExecutionProvider"]},
        "providers: got NoneExecutionProvider, this onnxruntime has ",
    ),
    ("no providers", file(linear), {"providers": []}, "providers: got nothing, this onnxruntime has "),
    (
        "providers of OpenVINO",
        file(linear),
        {"providers": ["CPUExecutionProvider"], "runtime": "openvino"},
        "providers: are for runtime='onnxruntime', OpenVINO takes the CPU; leave them out",
    ),
]


def words(line):
    """The pattern of a line in which only .* is not meant literally."""
    return ".*".join(map(re.escape, line.split(".*")))


@pytest.mark.parametrize(("write", "options", "says"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_what_cannot_be_opened_is_one_line(tmp_path, capfd, write, options, says):
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / "model.onnx"
    write(path)
    with pytest.raises(ValueError, match=words(says)) as caught:
        OnnxModel(path, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert capfd.readouterr() == ("", "")


CALLS = [
    ("another size", linear, np.ones((2, 5), np.float32), "inputs: got shape (2, 5), the model takes (N, 4)"),
    ("one row for several", linear, np.ones(4, np.float32), "inputs: got shape (4,), the model takes (N, 4)"),
    ("no rows", linear, ROWS[:0], "inputs: got shape (0, 4), expected (N, ...) with at least one row"),
    ("text", linear, np.array([["a"] * 4]), "inputs: holds <U1, expected real numbers of up to 64 bits; "),
    ("complex numbers", linear, ROWS * 1j, "inputs: holds complex64, expected real numbers"),
    (
        "numbers that float32 does not hold",
        linear,
        ROWS.astype(np.float64) * 0.1,
        "inputs: are float64, the model takes float32, which does not hold all of their numbers; convert",
    ),
    (
        "NaN for integers",
        lambda: linear(kind=TensorProto.UINT8),
        ROWS * np.nan,
        "inputs: hold NaN, the model takes uint8",
    ),
    (
        "several rows for a model of one",
        lambda: made([helper.make_node("MatMul", ["x", "w"], ["y"])], [port("x", [3, 4])], [port("y", [3, 3])], OWN),
        np.ones((2, 3, 4), np.float32),
        "got shape (2, 3, 4), the model takes x (float32, shape (3, 4)), one row without an axis for several; export",
    ),
    (
        "an axis that the operators do not take",
        lambda: made([MATMUL], [port("x", ["N", "M"])], [port("y", ["N", 3])], OWN),
        np.ones((2, 5), np.float32),
        "model.onnx: fails for inputs of shape (2, 5), takes x (float32, shape (N, M)) (",
    ),
]


@pytest.mark.parametrize(("model", "rows", "says"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
def test_inputs_that_do_not_fit_are_one_line(tmp_path, capfd, model, rows, says):
    opened = OnnxModel(saved(model(), tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=words(says)) as caught:
        opened(rows)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_batch_that_an_exporter_fixed_in_secret_is_told(tmp_path):
    path = saved(
        made(
            [
                helper.make_node("ReduceMean", ["x", "a"], ["m"], keepdims=1),
                helper.make_node("MatMul", ["m", "w"], ["y"]),
            ],
            X,
            Y,
            OWN | {"a": np.array([0])},
        ),
        tmp_path / "model.onnx",
    )
    helps = r"^model: returned shape \(1, 3\) for 2 rows, expected an output for each row; batch_size=1 helps if"
    with pytest.raises(ModelError, match=helps):
        OnnxModel(path)(ROWS)
    assert OnnxModel(path, batch_size=1)(ROWS).shape == (2, 3)


@pytest.mark.parametrize(("transform", "value"), [("log", 0.0), ("log", -1.0), ("logit", 1.0), ("logit", 0.0)])
def test_outputs_that_are_no_probabilities_are_one_line(tmp_path, transform, value):
    model = made([helper.make_node("Identity", ["x"], ["y"])], X, [port("y", ["N", 4])])
    opened = OnnxModel(saved(model, tmp_path / "model.onnx"), transform=transform)
    with pytest.raises(
        ModelError, match=rf"^transform: the {transform} of the output {value:g} is not finite; expected"
    ):
        opened(ROWS * np.float32(value))


def test_a_transform_that_fails_is_one_line(tmp_path):
    path = saved(linear(), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"^transform: fails \(IndexError: "):
        OnnxModel(path, transform=lambda found: found[:, 9])(ROWS)
    with pytest.raises(ModelError, match=r"^transform: returned shape \(\), expected an output for each of 2 rows$"):
        OnnxModel(path, transform=np.sum)(ROWS)


def test_a_path_is_a_path():
    with pytest.raises(TypeError, match=r"^path: expected the path of an ONNX file, got bytes$"):
        OnnxModel(b"model.onnx")
    with pytest.raises(TypeError, match="got ModelProto"):
        OnnxModel(linear())


@pytest.mark.parametrize(
    ("library", "runtime", "extra"),
    [("onnx", "onnxruntime", "onnx"), ("onnxruntime", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, library, runtime, extra):
    path = saved(linear(), tmp_path / "model.onnx")
    load = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}")
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    line = rf"^No module named '{library}'; it comes with: pip install '\.\[{extra}\]' in a clone of approxgrad$"
    with pytest.raises(ModelError, match=line):
        OnnxModel(path, runtime=runtime)


def test_a_tensor_of_another_size_is_refused_by_name(tmp_path):
    opened = OnnxModel(saved(linear(), tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=r"got shape \(2, 3\), the model takes \(N, 4\)"):
        opened(torch.ones(2, 3))
