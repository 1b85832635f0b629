"""A user's own files add methods, gradient sources and kinds to a study."""

import sys

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.extensions import load
from approxgrad.gradients.source import SOURCES
from approxgrad.methods.method import METHODS
from approxgrad.models.kind import MODELS
from approxgrad.study.own_files import extension_files
from approxgrad.study.reference import page, schema
from approxgrad.study.study import Study
from problems import points, quadratic, quadratic_gradient
from small_studies import DEFAULT, difference, entry, faults, key, study

METHOD = '''
"""Methods of my own."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from approxgrad.descriptions import Integer, Number, option
from approxgrad.methods.method import METHODS, Method
from my_helpers import mean


@METHODS.add
@dataclass(frozen=True)
class Shifted(Method):
    """Mean gradient at shifted inputs."""

    name: ClassVar[str] = "shifted"
    label: ClassVar[str] = "Shifted gradient"

    times: Annotated[Integer, option("How often.", ge=1)] = 3
    shift: Annotated[Number, option("How far.")] = 0.5

    @property
    def points(self) -> int:
        return self.times

    def attribute(self, model: Any, inputs: Any, target: Any, gradient: Any, baselines: Any = None) -> Any:
        return mean([gradient(model, (inputs + k * self.shift,), target)[0] for k in range(self.times)])


@METHODS.add
@dataclass(frozen=True)
class Squared(Method):
    """The squared gradient."""

    name: ClassVar[str] = "squared"
    label: ClassVar[str] = "Squared gradient"
    signed: ClassVar[bool] = False

    def from_gradient(self, inputs: Any, gradient: Any) -> Any:
        return gradient**2
'''
TAKEN = METHOD.replace('"shifted"', '"saliency"').replace("from my_helpers import mean", "")
HELPERS = "def mean(values):\n    return sum(values) / len(values)\n"
METHODS_OF_STUDY = {
    "shifted": {"attribution": "shifted", "times": 2},
    "squared": {"attribution": "squared"},
    "saliency": {"attribution": "saliency"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a file of extensions; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for registry in (METHODS, SOURCES, MODELS):
        # All of them are imported first: a module is imported only once, but what it registers here is forgotten.
        assert dict(registry)
        for own in ("_members", "_modules"):
            monkeypatch.setattr(registry, own, dict(getattr(registry, own)))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "my_methods.py").write_text(METHOD)
    (tmp_path / "own" / "my_helpers.py").write_text(HELPERS)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def extended(*experiments, **changes):
    return study(*experiments, methods=METHODS_OF_STUDY, extensions=["own/my_methods.py"], **changes)


def test_a_method_of_an_extension_is_one_like_the_others(folder):
    own = extended(entry(difference(), methods=["shifted", "squared"]))
    assert [key(cell)[2:] for cell in own.cells] == [
        ("shifted", "exact"),
        ("shifted", "forward-h0.1"),
        ("squared", "exact"),
        ("squared", "forward-h0.1"),
    ]
    assert [own.is_derived(cell) for cell in own.cells] == [False, False, True, True]
    shifted, squared = own.method("shifted"), own.method("squared")
    assert (shifted.times, shifted.shift, squared.signed) == (2, 0.5, False)
    costs = [own.method(cell.method).evaluations(cell.gradient, (12,)) for cell in own.cells]
    assert costs == [2, 2 * 13, 1, 13]
    assert own.labels["method"]["shifted"] == "Shifted gradient"
    assert own.document["methods"]["shifted"] == {"attribution": "shifted", "times": 2, "shift": 0.5}
    assert Study(own.document).cells == own.cells
    assert "`attribution: shifted`" in page()
    (allowed,) = schema()["properties"]["methods"]["patternProperties"].values()
    assert {"const": "shifted"} in [own["properties"]["attribution"] for own in allowed["anyOf"]]


def test_options_of_an_extension_arrive(folder):
    load(["own/my_methods.py"])
    x = points(4, 3)
    result = attribute(quadratic, x, method="shifted", gradient=FiniteDifference(0.5, "central"), times=2, shift=1.0)
    expected = (quadratic_gradient(x) + quadratic_gradient(x + 1)) / 2
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    default = attribute(quadratic, x, method="shifted")
    np.testing.assert_allclose(default, quadratic_gradient(x + 0.5), rtol=1e-12)


def test_options_of_an_extension_are_checked_like_the_others(folder):
    for options, line in (
        ({"times": 0}, "methods.own.times: got 0, expected at least 1"),
        ({"time": 2}, "methods.own.time: unknown key, expected one of attribution, shift, times (did you mean times?)"),
    ):
        own = {"own": {"attribution": "shifted", **options}}
        assert faults(entry(methods=["own"]), methods=own, extensions=["own/my_methods.py"]) == [line]


def test_files_of_what_is_in_use_are_tracked(folder):
    own = extended(entry(methods=["shifted"]))
    assert METHODS.module("shifted") == "my_methods"
    assert extension_files(own, [METHODS.module("shifted")]) == ["own/my_helpers.py", "own/my_methods.py"]
    assert extension_files(own, [METHODS.module("saliency")]) == []


def test_an_extension_is_imported_once(folder):
    load(["own/my_methods.py"])
    first = METHODS["shifted"]
    load(["own/my_methods.py", str(folder / "own" / "my_methods.py")])
    assert METHODS["shifted"] is first


def test_without_its_extension_a_method_is_unknown(folder):
    (line,) = faults(entry(methods=["shifted"]), methods=METHODS_OF_STUDY | {"squared": {"attribution": "saliency"}})
    assert line.startswith("methods.shifted.attribution: got 'shifted', expected one of gradient, smoothgrad, ")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("own/none.py", None, "extensions: there is no file own/none.py in {folder}"),
        ("own", None, "extensions: there is no file own in {folder}"),
        (
            "fails.py",
            "raise RuntimeError('two\\nlines')",
            "extensions: fails.py cannot be imported (RuntimeError: two lines)",
        ),
        ("ends.py", "import sys; sys.exit('no')", "extensions: ends.py cannot be imported (SystemExit: no)"),
        ("brackets.py", "(", "extensions: brackets.py cannot be imported (SyntaxError: '(' was never closed"),
        (
            "lacks.py",
            "import nowhere_at_all",
            "extensions: lacks.py cannot be imported (ModuleNotFoundError: No module named 'nowhere_at_all')",
        ),
        (
            "taken.py",
            TAKEN,
            "extensions: taken.py cannot be imported (ValueError: the name saliency is taken by another attrib",
        ),
        (
            "json.py",
            "",
            "extensions: json.py cannot be imported as 'json'; expected a name such as my_methods.py that ",
        ),
        ("my-methods.py", "", "extensions: my-methods.py cannot be imported as 'my-methods'; expected a name such as "),
        ("methods.txt", "", "extensions: methods.txt cannot be imported as 'methods'; expected a name such as "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(folder, name, text, line):
    if text is not None:
        (folder / name).write_text(text)
    modules = set(sys.modules)
    for _ in range(2):
        (said,) = faults(entry(), extensions=[name])
        assert said.startswith(line.format(folder=folder))
        assert said.isprintable()
    assert (folder / name).stem not in set(sys.modules) - modules


@pytest.mark.parametrize(
    ("extensions", "line"),
    [
        ("own/my_methods.py", "extensions: got 'own/my_methods.py', expected a list"),
        ([3], "extensions[0]: got 3, expected text"),
        ({"a": 1}, "extensions: got {'a': 1}, expected a list"),
    ],
)
def test_extensions_are_a_list_of_paths(folder, extensions, line):
    assert faults(entry(), extensions=extensions) == [line]


def test_the_default_study_has_no_extension():
    assert Study(DEFAULT).config.extensions == ()
