"""All image classification models of torchvision, untrained: followed with small errors, or declined in one line."""

import importlib.util
from pathlib import Path

import pytest
import torch

from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.propagation.engine import PAYS
from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.tracing import Graph

models = pytest.importorskip("torchvision").models
PATH = Path(__file__).resolve().parents[4] / "docs" / "propagation.py"
SPEC = importlib.util.spec_from_file_location("propagation_table", PATH)
PAGE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGE)
SMALL = ["squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"]


def check(name):
    found = PAGE.tried(name)
    if "declined" in found:
        assert found["declined"].startswith(("not tried", "differences cannot be propagated"))
        return
    assert found["bound"] > 0
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


def convnext():
    blocks = models.convnext.CNBlockConfig
    return models.convnext.ConvNeXt([blocks(16, 32, 2), blocks(32, None, 2)], num_classes=5)


DEAR = {
    "MobileNetV3": lambda: models.mobilenet_v3_large(weights=None),
    "EfficientNet": lambda: models.efficientnet_b0(weights=None),
    "ViT": lambda: models.VisionTransformer(64, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64),
    "ConvNeXt": convnext,
}


@pytest.mark.parametrize("name", DEAR)
def test_auto_stays_dense_where_formulas_take_what_windows_save(name):
    torch.manual_seed(0)
    with evaluation():
        plan = Plan(Network(Graph(DEAR[name]().eval(), torch.randn(1, 3, 64, 64)), torch.float32))
    assert plan.bound < PAYS


def test_the_table_names_every_model():
    table = PAGE.PAGE.read_text().partition(PAGE.START)[2].partition(PAGE.END)[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.strip().splitlines()[2:]] == PAGE.names()
