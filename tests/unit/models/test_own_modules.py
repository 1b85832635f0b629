"""A user's own files come before modules of the same names, and do not hide these from anybody else."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from approxgrad.models.kind import ModelError
from approxgrad.models.model_files import build_model

NETWORK = "from torch import nn\n\n\ndef build(shape, outputs):\n    return nn.Linear(*shape, outputs)\n"
NAMES = {
    "not loaded": "calendar",
    "loaded": "types",
    "part of Python": "sys",
    "a library": "numpy",
    "no other": "networks",
    "not installed": "models",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


def built(factory, shape=(3,)):
    return build_model(input_shape=shape, outputs=1, factory=factory)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_file_is_the_factory_whatever_its_name(folder, name):
    before = sys.modules.get(name)
    (folder / f"{name}.py").write_text(NETWORK)
    assert isinstance(built(f"{name}:build"), nn.Linear)
    assert sys.modules.get(name) is before


def test_others_import_what_they_always_did(folder):
    (folder / "colorsys.py").write_text(NETWORK)
    built("colorsys:build")
    import colorsys

    assert not Path(colorsys.__file__).is_relative_to(folder)


FILES = {
    "nets/__init__.py": "from .cnn import build\n",
    "nets/cnn.py": "import types\nimport nets.blocks.deep as deep\nimport nets.blocks\nfrom nets import blocks\n"
    "from . import blocks as same\nfrom .blocks.deep import size\n\n\ndef build(shape, outputs):\n"
    "    from statistics import make\n    assert blocks is same is nets.blocks and deep.size == size\n"
    "    assert types.mine\n    return make(shape, outputs)\n",
    "nets/blocks/__init__.py": "from ..cnn import types\n",
    "nets/blocks/deep.py": "from typing import Any\n\nsize: Any = 3\n",
    "types.py": "mine = True\n",
    "statistics.py": "from nets.blocks.deep import size\nfrom torch import nn\n\n\ndef make(shape, outputs):\n"
    "    return nn.Linear(size, outputs)\n",
}


@pytest.mark.parametrize("factory", ["nets:build", "nets.cnn:build"])
def test_packages_and_the_files_beside_them_find_each_other(folder, factory):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert built(factory).in_features == 3


def test_a_folder_that_is_no_package_holds_a_module(folder):
    (folder / "torch").mkdir()
    (folder / "torch" / "own.py").write_text(f"from torch import own\n{NETWORK}")
    assert isinstance(built("torch.own:build"), nn.Linear)


def test_another_folder_has_its_own_files(folder, monkeypatch):
    for name, width in (("a", 1), ("b", 2)):
        (folder / name).mkdir()
        (folder / name / "helper.py").write_text(f"width = {width}\n")
        (folder / name / "models.py").write_text(
            "from torch import nn\nfrom helper import width\n\n\ndef build(shape, outputs):\n"
            "    return nn.Sequential(nn.Linear(*shape, width), nn.Linear(width, outputs))\n"
        )
        monkeypatch.chdir(folder / name)
        assert built("models:build")[0].out_features == width


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys\nsys.exit()\n", r"cannot be imported \(it called sys.exit\(\)\)"),
        ("import helper_that_is_nowhere\n", r"cannot be imported \(ModuleNotFoundError: No module named 'helper_th"),
        ("import sys\n\n\ndef build(*shape):\n    sys.exit('no')\n", r"failed \(it called sys.exit\('no'\)\)"),
    ],
)
def test_a_module_that_ends_the_process_is_one_line(folder, code, words):
    (folder / "models.py").write_text(code)
    with pytest.raises(ModelError, match=f"^factory models:build: {words}"):
        built("models:build")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_module_of_the_user_may_be_scripted(folder):
    (folder / "code.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Own(nn.Linear):\n    def forward(self, x: torch.Tensor):\n"
        "        return torch.relu(nn.functional.linear(x, self.weight)) if len(x) else x\n\n\n"
        "def build(shape, outputs):\n    return torch.jit.script(Own(*shape, outputs))\n"
    )
    assert built("code:build")(torch.ones(2, 3)).shape == (2, 1)
