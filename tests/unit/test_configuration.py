import copy
from pathlib import Path

import jsonschema
import pytest
import yaml

from approxgrad.study.configuration import ConfigError, in_order, load_schema, validated

DEFAULT = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())
EXPERIMENT = {"datasets": ["digits"], "models": ["cnn"], "methods": ["saliency"], "steps": [0.1], "samples": 1}


def changed(path, value):
    """The default configuration with one key (a path with dots) replaced."""
    config = copy.deepcopy(DEFAULT)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = config
    for part in parents:
        place = place[part]
    place[last] = value
    return config


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(load_schema())


def test_defaults_are_filled_in_and_the_argument_is_left_alone():
    config = {
        "seed": 3,
        "datasets": {"digits": {"kind": "digits"}, "made": {"kind": "synthetic", "effect": "linear"}},
        "models": {"mlp": {"architecture": "mlp", "training": DEFAULT["models"]["cnn"]["training"]}},
        "methods": {"ig": {"attribution": "integrated_gradients"}, "saliency": {"attribution": "saliency"}},
        "experiments": [EXPERIMENT],
    }
    before = copy.deepcopy(config)
    filled = validated(config)
    assert config == before
    assert (filled["device"], filled["threads"], filled["map_step"]) == ("auto", 1, 0.1)
    assert filled["datasets"]["digits"]["test"] == 0.25
    assert filled["datasets"]["made"]["rows"] == {"train": 700, "validation": 300, "test": 300}
    assert filled["models"]["mlp"]["hidden"] == [256, 128, 64]
    assert filled["methods"]["ig"] == {"attribution": "integrated_gradients", "baseline": "zero", "n_steps": 50}
    assert filled["methods"]["saliency"] == {"attribution": "saliency"}
    assert (filled["experiments"][0]["schemes"], filled["experiments"][0]["samples_by_method"]) == (["forward"], {})


def test_keys_are_put_in_order_but_for_what_lies_inside_the_options_of_a_network():
    options = {"width": 1, "layers": {"second": 2, "first": 1}, "act": [{"b": 1, "a": 2}]}
    config = {
        "seed": 0,
        "models": {"z": {"factory": "a:b", "options": options}, "a": {"y": 1, "x": [{"d": 1, "c": 2}]}},
    }
    written = str(in_order(config))
    assert written == str(
        {
            "models": {
                "a": {"x": [{"c": 2, "d": 1}], "y": 1},
                "z": {
                    "factory": "a:b",
                    "options": {
                        "act": [{"b": 1, "a": 2}],
                        "layers": {"second": 2, "first": 1},
                        "width": 1,
                    },
                },
            },
            "seed": 0,
        }
    )


def test_two_experiments_share_no_default():
    first, second = validated({**DEFAULT, "experiments": [EXPERIMENT, EXPERIMENT]})["experiments"]
    first["schemes"].append("central")
    assert second["schemes"] == ["forward"]


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "+1.0e-04", "0.01e-2"])
def test_text_that_yaml_did_not_read_as_a_number_is_one(text):
    steps = validated(changed("experiments.0.steps", [text]))["experiments"][0]["steps"]
    assert steps == [1e-4]
    assert isinstance(steps[0], float)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("seed", "1", "seed: got '1', expected an integer"),
        ("seed", True, "seed: got True, expected an integer"),
        ("threads", 0, "threads: got 0, expected at least 1"),
        ("device", "tpu", "device: got 'tpu', expected one of auto, cpu, cuda"),
        ("datasets", [], "datasets: got [], expected a mapping"),
        ("datasets.digits.test", 0.5, "datasets.digits.test: got 0.5, expected less than 0.5"),
        ("datasets.digits.normalisation.std", [0], "datasets.digits.normalisation.std[0]: got 0, expected more than 0"),
        ("models.mlp.dropout", 1, "models.mlp.dropout: got 1, expected less than 1"),
        ("models.mlp.training.decay.factor", 2, "models.mlp.training.decay.factor: got 2, expected at most 1"),
        ("models.mlp.hidden", [], "models.mlp.hidden: got [], expected at least 1 value(s)"),
        (
            "methods.integrated_gradients.baseline",
            "meen",
            "methods.integrated_gradients.baseline: got 'meen', expected zero, mean, a number or a list of numbers",
        ),
        ("methods.a b", {"attribution": "saliency"}, "methods: got 'a b', expected: Letters, digits, _ and -"),
        ("methods.x", {}, "methods.x.attribution: is missing"),
        ("experiments.0.steps", [1, 1.0], "experiments[0].steps: got [1, 1.0], expected no value twice"),
        ("experiments.0.steps", 0.1, "experiments[0].steps: got 0.1, expected a list"),
        ("experiments.0.step", [1], "experiments[0].step: unknown key, expected one of "),
    ],
)
def test_every_fault_is_one_line_with_key_value_and_what_is_allowed(path, value, line):
    with pytest.raises(ConfigError) as error:
        validated(changed(path, value))
    (said,) = str(error.value).splitlines()
    assert said.startswith(line)
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("sead", " (did you mean seed?)"),
        ("models.mlp.hiden", " (did you mean hidden?)"),
        ("experiments.0.step", " (did you mean steps?)"),
        ("zzz", ""),
    ],
)
def test_unknown_keys_come_with_a_hint_where_one_is_close(path, hint):
    with pytest.raises(ConfigError) as error:
        validated(changed(path, 1))
    assert str(error.value).endswith(hint)
    assert ("did you mean" in str(error.value)) == bool(hint)


def test_all_faults_are_reported_at_once():
    config = {**DEFAULT, "seed": -1, "device": "gpu", "zzz": 1}
    del config["methods"]
    with pytest.raises(ConfigError) as error:
        validated(config)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["device", "methods", "seed", "zzz"]


def test_long_values_are_shortened():
    with pytest.raises(ConfigError, match=r"^seed: got '(x+)\.\.\., expected an integer$") as error:
        validated(changed("seed", "x" * 1000))
    assert len(str(error.value)) < 100
