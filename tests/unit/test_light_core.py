"""The package as a wheel, in an environment with nothing but torch, captum, numpy and what these need."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = {"captum", "numpy", "torch"}
PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs" / "python.md"]
STUDY = re.compile(r"<!-- [^>]*the extra study[^>]* -->\n\n```python\n.*?^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    re.findall(r"^```python\n(.*?)^```", STUDY.sub("", page.read_text()), re.MULTILINE | re.DOTALL) for page in PAGES
]
INTERFACE = """
import torch
from approxgrad import CompiledModel, ExactGradient, FiniteDifference, StepChoice, attribute, choose_step

model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 2)).eval()
rows = torch.randn(6, 4)
choice = choose_step(model, rows, torch.zeros(6, dtype=torch.int64))
assert isinstance(choice, StepChoice) and choice.step > 0
assert callable(CompiledModel)
(exact,) = ExactGradient()(model, rows, 0)
(central,) = FiniteDifference(0.01, "central")(model, rows, 0)
assert torch.allclose(exact, central, atol=1e-3)
for method in ("saliency", "input_x_gradient", "integrated_gradients", "integrated_gradients_published"):
    attribute(model, rows, target=0, method=method, gradient=FiniteDifference(0.01))
"""


def requirements(name):
    """Names of what a distribution needs without extras; nothing if it is not installed, such as for another system."""
    try:
        own = map(Requirement, distribution(name).requires or [])
    except PackageNotFoundError:
        return set()
    return {canonicalize_name(each.name) for each in own if each.marker is None or each.marker.evaluate({"extra": ""})}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as a wheel, built offline from a copy of its sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "workflow" / "approxgrad", copy / "workflow" / "approxgrad", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "."]
    subprocess.run(command, cwd=copy, check=True)
    (built,) = copy.glob("approxgrad-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment with the wheel and links to what it needs; nothing else is in it."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    needed, waiting = set(), set(CORE)
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting |= requirements(name) - needed
    for name in needed:
        try:
            own = distribution(name)
        except PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in own.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(own.locate_file(top))
    return place / "bin" / "python"


def run(python, code):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [python, "-c", code], env=environment, cwd=python.parent, capture_output=True, text=True, check=False
    )


def test_the_package_needs_three_libraries(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    needed = [Requirement(text) for text in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)]
    assert {each.name for each in needed if each.marker is None} == CORE
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE)) == set(extras)


def test_the_environment_lacks_what_only_a_study_needs(python):
    modules = ["pandas", "pyarrow", "pydantic", "scipy", "sklearn", "snakemake", "torchvision", "yaml"]
    found = run(python, f"from importlib.util import find_spec; print([m for m in {modules} if find_spec(m)])")
    assert (found.stdout.strip(), found.stderr) == ("[]", "")
    here = run(python, "import approxgrad; print(approxgrad.__file__)").stdout
    assert here.startswith(str(python.parents[1]))


def test_the_interface_works_there(python):
    assert all(BLOCKS)
    for code in (*itertools.chain(*BLOCKS), INTERFACE):
        done = run(python, code)
        assert done.returncode == 0, done.stderr


def test_what_belongs_to_a_study_says_what_it_lacks(python):
    done = run(python, "from approxgrad import read_provenance")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'pyarrow'"


def test_the_terminal_says_what_it_lacks(python):
    # Of weights; the file is never read.
    words = ["explain", str(python), str(python), "--architecture", "mlp"]
    done = run(python, f"from approxgrad.explaining.command_line import main; raise SystemExit(main({words}))")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    told = r"approxgrad: No module named '\w+'; it comes with: pip install '\.\[study\]' in a clone of approxgrad"
    assert re.fullmatch(told, line), line
