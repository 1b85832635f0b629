"""Which pictures a study has, and what they are drawn from."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.figures.figure import FIGURES
from approxgrad.figures.maps import mapped_cells
from approxgrad.study.study import Study

DEFAULT = yaml.safe_load((Path(__file__).parents[3] / "config" / "config.yaml").read_text())
SYNTHETIC = ("synthetic_linear", "synthetic_nonlinear")


@pytest.fixture(scope="module")
def study():
    return Study(copy.deepcopy(DEFAULT))


def targets(study, name):
    return [tuple(keys) for keys in FIGURES[name]().targets(study)]


def test_figures_ask_descriptions_what_they_apply_to(study):
    comparisons = [tuple(names) for names in study.comparisons]
    assert targets(study, "boxplots") == comparisons
    assert targets(study, "truth") == [names for names in comparisons if names[0] in SYNTHETIC]
    images = [("digits", name) for name in ("cnn", "resnet18", "cnn_onnx", "cnn_int8")]
    assert targets(study, "maps") == images
    assert targets(study, "twins") == [("digits", "cnn", "saliency")]
    variants = targets(study, "variants")
    assert variants == [names for names in comparisons if names[2].startswith("integrated_gradients_published")]
    assert len(variants) == 6
    complete = {method for _, _, method in targets(study, "completeness")}
    assert complete == {"integrated_gradients", "integrated_gradients_mean"}
    assert targets(study, "anatomy") == [tuple(names) for names in study.models]
    trained = [("digits", "cnn"), ("digits", "resnet18"), ("synthetic_linear", "mlp"), ("synthetic_nonlinear", "mlp")]
    assert targets(study, "learning_curves") == trained
    assert targets(study, "published") == []


@pytest.mark.parametrize("name", FIGURES)
def test_pictures_are_drawn_from_named_files_and_plain_values(study, name):
    figure = FIGURES[name]()
    for target in targets(study, name):
        keys = dict(zip(figure.level, target, strict=True))
        params = figure.params(study, keys)
        assert json.loads(json.dumps(params)) == params
        assert params["labels"].keys() == keys.keys()
        assert all(look["colour"] and look["marker"] for look in params.get("families", {}).values())
        files = figure.inputs(study, keys)
        assert "code" not in files
        assert all(isinstance(paths, (str, list)) for paths in files.values())
    assert len(figure.files(study)) == 3 * len(targets(study, name))
    assert not any("{" in path for path in figure.files(study))


def test_a_variant_is_drawn_beside_the_method_that_it_is_compared_with(study):
    keys = {"dataset": "digits", "model": "cnn", "method": "integrated_gradients_published"}
    figure = FIGURES["variants"]()
    assert figure.inputs(study, keys) == {
        "correct": METRIC_TABLE.format(**{**keys, "method": "integrated_gradients"}),
        "published": METRIC_TABLE.format(**keys),
    }
    assert figure.params(study, keys)["against"] == "exact Integrated Gradients"


def test_maps_show_each_kind_of_method_once_at_the_nearest_setting(study):
    columns = mapped_cells(study, "digits", "cnn")
    assert [method for method, _, _ in columns] == ["saliency", "input_x_gradient", "integrated_gradients"]
    # 0.5 is nearer to 0.1 than 0.01 is: by a factor of 5 against one of 10.
    assert {cell.gradient.name for _, cell, _ in columns} == {"forward-h0.5"}
    assert {cell.gradient.name for _, _, cell in columns} == {"exact"}


def test_a_chosen_step_or_a_higher_precision_is_mapped_only_where_there_is_no_other():
    config = copy.deepcopy(DEFAULT)
    config["gradients"] = {"own": {"difference": "forward", "steps": ["auto", 0.3], "dtypes": ["float64", "float32"]}}
    entry = {"datasets": ["digits"], "models": ["cnn"], "methods": ["saliency"], "gradients": ["own"], "samples": 5}
    config["experiments"] = [entry]
    ((_, cell, exact),) = mapped_cells(Study(copy.deepcopy(config)), "digits", "cnn")
    assert (cell.gradient.name, exact.gradient.name) == ("forward-h0.3", "exact")
    config["gradients"]["own"]["steps"] = ["auto"]
    ((_, cell, _),) = mapped_cells(Study(config), "digits", "cnn")
    assert cell.gradient.name == "forward-auto"
