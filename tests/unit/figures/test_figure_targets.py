"""Which pictures a study has, and what they are drawn from."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.figures.figure import FIGURES
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
    tables = [("synthetic_linear", "mlp"), ("synthetic_nonlinear", "mlp"), ("synthetic_nonlinear", "boosted_trees")]
    assert targets(study, "features") == tables
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
    assert len(figure.files(study)) == 4 * len(targets(study, name))
    assert not any("{" in path for path in figure.files(study))


def test_figures_have_the_files_that_the_configuration_names():
    config = copy.deepcopy(DEFAULT) | {"figures": {"formats": ["pdf"]}}
    endings = {path.rpartition(".")[2] for path in FIGURES["boxplots"]().files(Study(config))}
    assert endings == {"svg", "pdf", "csv"}


def test_a_variant_is_drawn_beside_the_method_that_it_is_compared_with(study):
    keys = {"dataset": "digits", "model": "cnn", "method": "integrated_gradients_published"}
    figure = FIGURES["variants"]()
    models = [keys, keys | {"model": "resnet18"}]
    assert figure.inputs(study, keys) == {
        "correct": [METRIC_TABLE.format(**{**own, "method": "integrated_gradients"}) for own in models],
        "published": [METRIC_TABLE.format(**own) for own in models],
    }
    assert figure.params(study, keys)["against"] == "exact Integrated Gradients"


def test_figures_read_the_tables_of_the_models_that_are_compared(study):
    keys = {"dataset": "digits", "model": "cnn", "method": "saliency"}
    others = ["resnet18", "cnn_onnx", "cnn_int8"]
    tables = [METRIC_TABLE.format(**{**keys, "model": model}) for model in others]
    boxes = FIGURES["boxplots"]()
    assert boxes.inputs(study, keys) == {"metrics": METRIC_TABLE.format(**keys), "others": tables}
    assert boxes.params(study, keys)["others"] == others
    anatomy, place = FIGURES["anatomy"](), {"dataset": "digits", "model": "cnn"}
    assert anatomy.inputs(study, place)["others"][-2:] == tables[1:]
    assert anatomy.params(study, place)["others"][-2:] == [["cnn_onnx", "saliency"], ["cnn_int8", "saliency"]]
    completeness = FIGURES["completeness"]().inputs(study, keys | {"method": "integrated_gradients"})
    assert completeness["others"] == ["results/completeness/dataset=digits/model=resnet18/part-0.parquet"]


def test_models_that_are_trained_several_times_give_axes_no_room():
    config = copy.deepcopy(DEFAULT)
    config["models"]["resnet18"]["repeats"] = 2
    keys = {"dataset": "digits", "model": "cnn", "method": "saliency"}
    params = FIGURES["boxplots"]().params(Study(config), keys)
    assert params["others"] == ["resnet18", "cnn_onnx", "cnn_int8"]
