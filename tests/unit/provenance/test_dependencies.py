import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from approxgrad.datasets.kind import DATASETS
from approxgrad.figures.figure import FIGURES
from approxgrad.gradients.source import SOURCES
from approxgrad.methods.method import METHODS
from approxgrad.models.kind import MODELS
from approxgrad.provenance import dependencies
from approxgrad.provenance.dependencies import NEUTRAL, PACKAGE_ROOT, source_files

SCRIPTS = PACKAGE_ROOT.parent / "scripts"
ENGINE = "gradients/finite_differences.py"
# Scripts that need no torch, with the modules that rules name for them.
TORCH_FREE = {
    **{name: [] for name in ("build_explorer", "describe_run", "gather_shards", "show_tables", "tell_story")},
    "evaluate": ["approxgrad.evaluation.completeness", "approxgrad.evaluation.metric_tables"],
    "plot": sorted({FIGURES.module(name) for name in FIGURES}),
    "prepare_data": [DATASETS.module(name) for name in ("digits", "synthetic")],
    "tabulate": ["approxgrad.evaluation.frames", "approxgrad.evaluation.paired"],
}
DIFFERENCE, MLP = SOURCES.module("difference"), MODELS.module("mlp")


def closure(script, *modules):
    return {path.relative_to(PACKAGE_ROOT).as_posix() for path in source_files(SCRIPTS / f"{script}.py", modules)}


@pytest.mark.parametrize(
    ("script", "modules", "inside", "outside"),
    [
        (
            "attribute",
            [DIFFERENCE, METHODS.module("integrated_gradients_published"), MLP],
            {ENGINE, "gradients/stencils.py", "methods/path_average.py", "models/architectures.py"},
            {"models/training.py", "evaluation/metrics.py", "methods/gradient_methods.py"},
        ),
        (
            "train_model",
            [MLP],
            {"models/training.py", "models/architectures.py", "models/device.py", "storage/tables.py"},
            {ENGINE, "study/cells.py"},
        ),
        (
            "evaluate",
            ["approxgrad.evaluation.metric_tables"],
            {"evaluation/metric_tables.py", "evaluation/metrics.py", "storage/tables.py"},
            {"figures/style.py", "evaluation/completeness.py"},
        ),
        ("plot", [FIGURES.module("boxplots")], {"figures/boxplots.py", "figures/style.py"}, {"figures/maps.py"}),
    ],
)
def test_a_script_depends_on_what_it_imports_directly_or_not(script, modules, inside, outside):
    files = closure(script, *modules)
    assert inside <= files
    assert not outside & files


def test_modules_that_change_no_result_are_left_out():
    files = {file for path in SCRIPTS.glob("*.py") for file in closure(path.stem)}
    folders = {path.partition("/")[0] for path in files}
    assert not folders & {"__init__.py", "messages.py", "progress.py", "provenance", "running"}
    assert {"study", "models"} <= folders


def test_neutral_modules_exist():
    places = [PACKAGE_ROOT.parent / name.replace(".", "/") for name in NEUTRAL]
    assert all(place.is_dir() or place.with_suffix(".py").is_file() for place in places)


def test_subpackages_only_say_what_belongs_there():
    """So importing one loads nothing, and its ``__init__`` need not be tracked."""
    files = list(PACKAGE_ROOT.glob("*/**/__init__.py"))
    assert {path.parent for path in PACKAGE_ROOT.glob("*/**/*.py")} == {path.parent for path in files}
    for path in files:
        (docstring,) = ast.parse(path.read_text()).body
        assert isinstance(docstring, ast.Expr), path
        assert isinstance(docstring.value.value, str), path


def test_modules_imported_by_a_computed_name_are_added():
    assert "datasets/digits.py" not in closure("prepare_data")
    assert "datasets/digits.py" in closure("prepare_data", "approxgrad.datasets.digits")


def test_every_form_of_import_is_followed(tmp_path, monkeypatch):
    package = tmp_path / "approxgrad"
    for folder in ("sub", "running"):
        (package / folder).mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "a": "def later():\n    from approxgrad import b\n",
        "b": "import approxgrad.sub.c\n",
        "sub/__init__": '"""A subpackage."""',
        "sub/c": "import os\nfrom approxgrad.sub import d\nfrom approxgrad import a\nfrom approxgrad.e import thing\n",
        "sub/d": "from approxgrad.running.job import job\n",
        "e": "thing = 1\n",
        "running/job": "from approxgrad import unused\n",
        "unused": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / "script.py").write_text("from approxgrad.a import later\n")
    monkeypatch.setattr(dependencies, "PACKAGE_ROOT", package)
    files = source_files(tmp_path / "script.py")
    assert [path.relative_to(package).as_posix() for path in files] == [
        "a.py",
        "b.py",
        "e.py",
        "sub/c.py",
        "sub/d.py",
    ]


@pytest.mark.parametrize("script", TORCH_FREE)
def test_light_scripts_do_not_load_torch(script):
    body = ast.parse((SCRIPTS / f"{script}.py").read_text()).body
    lines = [ast.unparse(node) for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    lines += [f"import {module}" for module in TORCH_FREE[script]]
    code = "\n".join([*lines, "import sys", "print(sorted({'torch', 'torchvision', 'captum'} & set(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_package_itself_loads_torch_only_when_used():
    code = "import sys, approxgrad; print('torch' in sys.modules, 'attribute' in dir(approxgrad), end=' ')\n"
    code += "try: approxgrad.nothing\nexcept AttributeError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False True module 'approxgrad' has no attribute 'nothing'"


def test_the_script_itself_is_not_listed():
    assert not any(path.parent == SCRIPTS for path in source_files(SCRIPTS / "attribute.py"))
    assert all(isinstance(path, Path) and path.is_file() for path in source_files(SCRIPTS / "attribute.py"))


def test_started_processes_import_this_package(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    dependencies.pass_on_package()
    dependencies.pass_on_package()
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(PACKAGE_ROOT.parent), "elsewhere"])


def test_what_only_type_checkers_import_is_no_dependency(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "import typing\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import first\nelse:\n    import second\n"
        "if typing.TYPE_CHECKING:\n    import third\n"
        "def function():\n    import fourth\n"
    )
    assert set(dependencies.imported_names(path)) == {"typing", "typing.TYPE_CHECKING", "second", "fourth"}
