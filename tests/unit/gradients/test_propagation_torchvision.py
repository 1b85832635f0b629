"""All image classification models of torchvision, untrained: followed with small errors, or declined in one line."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torchvision")
PATH = Path(__file__).resolve().parents[3] / "docs" / "propagation.py"
SPEC = importlib.util.spec_from_file_location("propagation_table", PATH)
PAGE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGE)
SMALL = ["squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"]


def check(name):
    found = PAGE.tried(name)
    if "declined" in found:
        assert found["declined"].startswith(("not tried", "differences cannot be propagated"))
        return
    assert found["bound"] > 0.7
    # Some deep untrained networks multiply any rounding by thousands, which dense evaluations show too.
    for error, dense in zip(found["errors"], found["dense_errors"], strict=True):
        assert error < max(1e-5, 0.5 * dense)


@pytest.mark.parametrize("name", SMALL)
def test_small_models_of_torchvision(name):
    check(name)


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in PAGE.names() if name not in SMALL])
def test_all_models_of_torchvision(name):
    check(name)


def test_the_table_names_every_model():
    table = PAGE.PAGE.read_text().partition(PAGE.START)[2].partition(PAGE.END)[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.strip().splitlines()[2:]] == PAGE.names()
