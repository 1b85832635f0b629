"""Options of a factory reach it as they stand in the file."""

import json
import math

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from approxgrad.study.configuration import configured
from approxgrad.study.written_options import keep_written_options

STUDY = {
    "seed": 0,
    "datasets": {"digits": {"kind": "digits"}},
    "methods": {"saliency": {"attribution": "saliency"}},
    "gradients": {"forward": {"difference": "forward", "steps": [1]}},
    "experiments": [
        {"datasets": ["digits"], "models": ["own"], "methods": ["saliency"], "gradients": ["forward"], "samples": 1}
    ],
}
MODEL = {"factory": "a:b", "training": {"epochs": 1, "batch_size": 2, "learning_rate": 1}}


@pytest.fixture
def options(tmp_path):
    """Returns the options that a study gets from the texts of files, merged as Snakemake does."""

    def read(*texts):
        config, paths = {}, []
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"{number}.yaml")
            paths[-1].write_text(text)
            update_config(config, load_configfile(paths[-1]))
        update_config(config, STUDY)
        update_config(config, {"models": {"own": MODEL}})
        keep_written_options(config, [*paths, tmp_path / "nowhere.yaml"])
        return configured(config).models["own"].options

    return read


def written(*lines):
    return "models:\n  own:\n    options:\n" + "".join(f"      {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ('"null"', "null"),
        ("'1e-3'", "1e-3"),
        ("!!str 1e-3", "1e-3"),
        ("1e-3", 1e-3),
        ("+1.5E3", 1500.0),
        (".5e2", 50.0),
        ("1e", "1e"),
        ('"01"', "01"),
        ('"yes"', "yes"),
        ("true", True),
        ("3", 3),
        ("3.0", 3.0),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 10:00:00", "2024-01-31 10:00:00"),
        ("'2024-01-31'", "2024-01-31"),
        ("{}", {}),
        ("[]", []),
        ("''", ""),
        ("{30: 1e-1, 2: null, b: '1e-1', a: {}}", {30: 0.1, 2: None, "b": "1e-1", "a": {}}),
        ("[1e-1, '1e-1', null, [{a: null}]]", [0.1, "1e-1", None, [{"a": None}]]),
        (".inf", math.inf),
        ("123456789012345678901", 123456789012345678901),
        ("?x", "?x"),
        ("'{wildcards.model}'", "{wildcards.model}"),
    ],
)
def test_a_value_arrives_as_it_is_written(options, text, value):
    assert repr(options(written(f"a: {text}"))) == repr({"a": value})


def test_json_arrives_as_it_is_written(options):
    given = {"a": "1e-3", "b": 1e-3, "c": None, "d": "2024-01-31", "e": {"z": 1, "a": 2}}
    assert repr(options(json.dumps({"models": {"own": {"options": given}}}))) == repr(given)


def test_the_last_file_decides_how_a_value_is_written(options):
    assert options(written("a: 1e-3", "b: 1e-3"), written("a: '1e-3'")) == {"a": "1e-3", "b": 1e-3}
    assert options(written("a: '1e-3'", "c: {d: 1, e: '1e1'}"), written("a: 1e-3", "c: {d: null}")) == {
        "a": 1e-3,
        "c": {"d": None, "e": "1e1"},
    }


def test_aliases_are_written_out(options):
    text = "x: &x {lr: 1e-3, name: '1e-3'}\n" + written("a: *x", "b: {<<: *x, lr: '2e-3'}")
    config = yaml.safe_load(text)
    assert config["x"] == {"lr": "1e-3", "name": "1e-3"}
    assert options(text.replace("x: &x", "pathvars: &x")) == {
        "a": {"lr": 1e-3, "name": "1e-3"},
        "b": {"lr": "2e-3", "name": "1e-3"},
    }
