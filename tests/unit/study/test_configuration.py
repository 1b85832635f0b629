import copy
import dataclasses
from pathlib import Path

import pytest
import yaml

from approxgrad.gradients.difference import Difference
from approxgrad.methods.gradient_methods import Saliency
from approxgrad.methods.integrated_gradients import IntegratedGradients
from approxgrad.study.configuration import SECTIONS, ConfigError, configured, document

DEFAULT = yaml.safe_load((Path(__file__).resolve().parents[3] / "config" / "config.yaml").read_text())
EXPERIMENT = {"datasets": ["digits"], "models": ["cnn"], "methods": ["saliency"], "gradients": ["own"], "samples": 1}
STEPS = "gradients.forward.steps"


def changed(path, value):
    """The default configuration with one key (a path with dots) replaced."""
    config = copy.deepcopy(DEFAULT)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = config
    for part in parents:
        place = place[part]
    place[last] = value
    return config


def faults(config):
    with pytest.raises(ConfigError) as error:
        configured(config)
    return str(error.value).splitlines()


def test_defaults_are_filled_in_and_the_argument_is_left_alone():
    config = {
        "seed": 3,
        "datasets": {"digits": {"kind": "digits"}, "made": {"kind": "synthetic", "effect": "linear"}},
        "models": {"mlp": {"architecture": "mlp", "training": DEFAULT["models"]["cnn"]["training"]}},
        "methods": {"ig": {"attribution": "integrated_gradients"}, "saliency": {"attribution": "saliency"}},
        "gradients": {"own": {"difference": "central", "steps": [1]}},
        "experiments": [EXPERIMENT],
    }
    before = copy.deepcopy(config)
    own = configured(config)
    assert config == before
    assert (own.seed, own.device, own.threads, own.map_setting) == (3, "auto", 1, "recommended")
    assert own.datasets["digits"].test == 0.25
    assert own.models["mlp"].hidden == (256, 128, 64)
    assert own.methods == {"ig": IntegratedGradients("zero", 50), "saliency": Saliency()}
    assert own.gradients == {"own": Difference("central", (1.0,), ("float32",))}
    assert (own.experiments[0].samples_by_method, own.experiments[0].reference) == ({}, None)
    filled = document(own)
    assert filled["datasets"]["made"]["rows"] == {"train": 700, "validation": 300, "test": 300}
    assert filled["methods"]["ig"] == {"attribution": "integrated_gradients", "baseline": "zero", "n_steps": 50}
    assert filled["methods"]["saliency"] == {"attribution": "saliency", "signed": False}
    assert filled["models"]["mlp"]["architecture"] == "mlp"
    difference = {"difference": "central", "steps": [1.0], "dtypes": ["float32"], "evaluation": "dense"}
    assert filled["gradients"] == {"own": difference}
    assert filled["experiments"] == [EXPERIMENT | {"samples_by_method": {}}]


def test_the_written_configuration_is_read_as_the_same_one():
    own = configured(DEFAULT)
    assert configured(yaml.safe_load(yaml.safe_dump(document(own)))) == own


def test_nothing_depends_on_the_order_of_entries_and_options_but_inside_the_options_of_a_network():
    def backwards(value):
        return (
            dict(reversed([(key, backwards(item)) for key, item in value.items()]))
            if isinstance(value, dict)
            else value
        )

    options = {"width": 1, "layers": {"second": 2, "first": 1}, "act": [{"b": 1, "a": 2}]}
    config = copy.deepcopy(DEFAULT)
    config["models"]["own"] = {"factory": "a:b", "options": options, "weights": {"file": "w"}}
    first, second = (document(configured(own)) for own in (config, {**config, **backwards(config)}))
    for own in (first, second):
        own["models"]["own"]["options"] = str(own["models"]["own"]["options"])
    written = "{{'act': [{{'b': 1, 'a': 2}}], 'layers': {{'{}': {}, '{}': {}}}, 'width': 1}}".format
    assert first["models"]["own"].pop("options") == written("second", 2, "first", 1)
    assert second["models"]["own"].pop("options") == written("first", 1, "second", 2)
    for section in SECTIONS:
        assert str(first[section]) == str(second[section])


def test_two_experiments_share_no_default():
    first, second = configured({**DEFAULT, "experiments": [DEFAULT["experiments"][1]] * 2}).experiments
    assert first == second
    assert first.samples_by_method is not second.samples_by_method


def test_a_description_cannot_be_changed():
    own = configured(DEFAULT)
    for member in (own, own.experiments[0], own.methods["saliency"], own.gradients["forward"], own.datasets["digits"]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            member.seed = 1


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "+1.0e-04", "0.01e-2", ".1e-3"])
def test_text_that_yaml_did_not_read_as_a_number_is_one(text):
    steps = configured(changed(STEPS, [text])).gradients["forward"].steps
    assert steps == (1e-4,)
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
            "methods.integrated_gradients.baseline: got 'meen', expected zero, mean, test_mean, a finite number or a "
            "list",
        ),
        (
            "methods.integrated_gradients.baseline",
            [1, "a"],
            "methods.integrated_gradients.baseline[1]: got 'a', expected a finite number",
        ),
        ("methods.a b", {"attribution": "saliency"}, "methods: got 'a b', expected: Letters, digits, _ and -"),
        ("methods.x", {}, "methods.x: expected attribution: one of gradient, smoothgrad, saliency, "),
        (
            "methods.x",
            {"attribution": "lime"},
            "methods.x.attribution: got 'lime', expected one of gradient, smoothgrad",
        ),
        ("methods.x", {"attribution": ["saliency"]}, "methods.x.attribution: got ['saliency'], expected one of gradi"),
        ("models.x", {"architecture": "x" * 100}, f"models.x.architecture: got '{'x' * 56}..., expected one of cnn"),
        ("gradients.x", {"steps": [1]}, "gradients.x: expected the key difference"),
        ("gradients.x", {"exact": True}, "gradients.x: expected the key difference"),
        ("methods.saliency.colour", 1, "methods.saliency.colour: unknown key, expected one of attribution"),
        ("models.x", {"hidden": [1]}, "models.x: expected architecture: one of cnn, mlp, resnet18, "),
        (STEPS, [1, 1.0], f"{STEPS}: got [1, 1.0], expected no value twice"),
        (STEPS, [0.1, "1e-1"], f"{STEPS}: got [0.1, 0.1], expected no value twice (0.1 is)"),
        (STEPS, 0.1, f"{STEPS}: got 0.1, expected a list"),
        (STEPS, [], f"{STEPS}: got [], expected at least 1 value(s)"),
        (STEPS, ["automatic"], f"{STEPS}[0]: got 'automatic', expected a finite number, auto or path"),
        (STEPS, [0], f"{STEPS}[0]: got 0, expected a number of at least 1e-30, auto or path"),
        (STEPS, [1e300], f"{STEPS}[0]: got 1e+300, expected a number of at most 1e+30, auto or path"),
        (STEPS, [1, float("nan")], f"{STEPS}[1]: got nan, expected a finite number, auto or path"),
        (STEPS, [1, float("inf")], f"{STEPS}[1]: got inf, expected a finite number, auto or path"),
        (
            "gradients.forward.step",
            [1],
            "gradients.forward.step: unknown key, expected one of arithmetic, difference, dtypes, evaluation, ",
        ),
        (
            "gradients.forward.difference",
            "sideways",
            "gradients.forward.difference: got 'sideways', expected one of forward, backward, central",
        ),
        (
            "gradients.forward.dtypes",
            ["float8"],
            "gradients.forward.dtypes[0]: got 'float8', expected one of bfloat16, float16, float32, float64",
        ),
        ("gradients.forward", 3, "gradients.forward: got 3, expected a mapping"),
        ("experiments.0.gradients", [], "experiments[0].gradients: got [], expected at least 1 value(s)"),
        ("experiments.0.step", [1], "experiments[0].step: unknown key, expected one of "),
        ("experiments.0.samples", 2.0, "experiments[0].samples: got 2.0, expected an integer"),
    ],
)
def test_every_fault_is_one_line_with_key_value_and_what_is_allowed(path, value, line):
    (said,) = faults(changed(path, value))
    assert said.startswith(line)


@pytest.mark.parametrize(
    ("old", "key", "source"),
    [
        ({"steps": [0.1, "auto"]}, "steps", ("forward", "[0.1, 'auto']")),
        ({"schemes": ["central", "forward"]}, "schemes", ("central", "[0.01]")),
        ({"schemes": ["central"], "steps": [0.5], "dtypes": ["float64"]}, "steps", ("central", "[0.5]")),
        ({"dtypes": ["float64"]}, "dtypes", ("forward", "[0.01]")),
        ({"steps": 3, "schemes": "central"}, "steps", ("forward", "3")),
    ],
)
def test_steps_of_an_experiment_get_a_line_that_says_what_to_write(old, key, source):
    entry = {name: value for name, value in DEFAULT["experiments"][0].items() if name != "gradients"}
    scheme, steps = source
    whole = {name: value for name, value in DEFAULT.items() if name != "gradients"}
    for config in (DEFAULT, whole):
        assert faults({**config, "experiments": [entry | old]}) == [
            f"experiments[0].{key}: gradient sources have a section of their own now; write `gradients: "
            f"{{{scheme}: {{difference: {scheme}, steps: {steps}}}}}` at the top and `gradients: [{scheme}]` here"
        ]


def test_what_to_write_instead_of_steps_is_valid():
    (line,) = faults(changed("experiments.0.steps", [0.1]))
    above, here = (yaml.safe_load(part) for part in line.split("`")[1::2])
    config = {**DEFAULT, "gradients": DEFAULT["gradients"] | above["gradients"]}
    config["experiments"] = [DEFAULT["experiments"][0] | here]
    assert configured(config).gradients["forward"] == Difference("forward", (0.1,))


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("sead", " (did you mean seed?)"),
        ("models.mlp.hiden", " (did you mean hidden?)"),
        ("models.mlp.training.epoch", " (did you mean epochs?)"),
        ("gradients.forward.step", " (did you mean steps?)"),
        ("experiments.0.gradient", " (did you mean gradients?)"),
        ("zzz", ""),
    ],
)
def test_unknown_keys_come_with_a_hint_where_one_is_close(path, hint):
    (said,) = faults(changed(path, 1))
    assert said.endswith(hint)
    assert ("did you mean" in said) == bool(hint)


def test_all_faults_are_reported_at_once():
    config = {**DEFAULT, "seed": -1, "device": "gpu", "zzz": 1, "models": {"cnn": {"architecture": "cmm"}}}
    del config["methods"]
    keys = ["device", "methods", "models.cnn.architecture", "seed", "zzz"]
    assert [line.split(":")[0] for line in faults(config)] == keys


def test_long_values_are_shortened():
    (said,) = faults(changed("seed", "x" * 1000))
    assert said.startswith("seed: got 'xxx")
    assert said.endswith("..., expected an integer")
    assert len(said) < 100


def test_a_configuration_that_holds_itself_is_refused():
    config = copy.deepcopy(DEFAULT)
    config["datasets"]["digits"] = config
    assert faults(config) == ["config: is nested too deeply, or contains itself"]
