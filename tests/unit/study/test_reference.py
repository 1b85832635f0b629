"""The JSON schema and the reference page are made from the classes, and say the same as these."""

import copy
import dataclasses
import re

import jsonschema
import pytest
import yaml
from snakemake.utils import update_config

from approxgrad.study import reference
from approxgrad.study.configuration import EXPONENT_NUMBER, SECTIONS, ConfigError, configured, document
from approxgrad.study.reference import page, schema, texts
from approxgrad.study.sections import CachedArrays, Config
from small_studies import DEFAULT, ROOT

VALIDATOR = jsonschema.Draft202012Validator(schema())
STUDIES = [ROOT / "config" / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


def as_in_an_editor(value):
    """Return numbers such as 1e-6, which YAML 1.1 takes for text, as those that they are in YAML 1.2."""
    if isinstance(value, dict):
        return {key: as_in_an_editor(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_in_an_editor(item) for item in value]
    return float(value) if isinstance(value, str) and EXPONENT_NUMBER.fullmatch(value) else value


def is_configuration(config):
    try:
        configured(config)
    except ConfigError:
        return False
    return True


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert all(isinstance(key, str) for key in keys(schema()))


def keys(value):
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(item)


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_the_files_are_those_that_the_classes_make(path):
    assert path.read_text() == texts()[path], "run: python -m approxgrad.study.reference"


def test_the_files_are_written(tmp_path, monkeypatch):
    for name in ("SCHEMA", "PAGE"):
        monkeypatch.setattr(reference, name, tmp_path / name)
    reference.main()
    assert yaml.safe_load((tmp_path / "SCHEMA").read_text()) == schema()
    assert (tmp_path / "PAGE").read_text() == page()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_is_valid_for_the_classes_and_for_the_schema(path):
    config = copy.deepcopy(DEFAULT)
    update_config(config, yaml.safe_load(path.read_text()))
    own = configured(config)
    assert [error.message for error in VALIDATOR.iter_errors(as_in_an_editor(config))] == []
    assert configured(document(own)) == own


def test_every_kind_of_entry_is_valid_for_both():
    config = copy.deepcopy(DEFAULT)
    config["datasets"] |= {
        "pictures": {"kind": "image_folder", "path": "photos", "size": [8, 8]},
        "archive": {"kind": "cifar10", "limit": {"test": 5}},
        "columns": {"kind": "table", "task": "regression", "path": "t.csv", "features": ["a"], "target": "y"},
    }
    config["models"] |= {
        "own": {"factory": "a.b:c", "options": {"x": None}, "weights": {"file": "w", "sha256": "0" * 64}},
        "plain": {"function": "a:f", "outputs": 3, "batch_size": 1, "check_rows": False},
    }
    config["methods"]["list"] = {"attribution": "integrated_gradients", "baseline": [0.5, 1], "n_steps": 3}
    config["gradients"]["both"] = {"difference": "central", "steps": ["auto", 1], "dtypes": ["float64", "float32"]}
    assert is_configuration(config)
    assert [error.message for error in VALIDATOR.iter_errors(config)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", "1"),
        ("seed", -1),
        ("seed", True),
        ("threads", 0),
        ("device", "tpu"),
        ("shards", "many"),
        ("datasets", {}),
        ("datasets.digits.kind", "digit"),
        ("datasets.digits.test", 0.5),
        ("datasets.synthetic_linear.rows.train", 1),
        ("models.cnn.architecture", "cmm"),
        ("models.mlp.hidden", []),
        ("models.mlp.hiden", [1]),
        ("models.mlp.training.decay.factor", 2),
        ("models.own", {"function": "no colon"}),
        ("methods.x y", {"attribution": "saliency"}),
        ("methods.saliency.n_steps", 3),
        ("methods.integrated_gradients.n_steps", 0),
        ("methods.integrated_gradients.baseline", "meen"),
        ("gradients", {}),
        ("gradients.forward", {"steps": [1]}),
        ("gradients.forward", {"exact": True}),
        ("gradients.forward.difference", "sideways"),
        ("gradients.forward.steps", []),
        ("gradients.forward.steps", [0]),
        ("gradients.forward.steps", ["automatic"]),
        ("gradients.forward.dtypes", ["float8"]),
        ("experiments", []),
        ("experiments.0.samples", 0),
        ("experiments.0.steps", [0.1]),
        ("experiments.0.gradients", []),
        ("uncertainty.level", 1),
        ("extensions", "my_methods.py"),
        ("colour", 1),
    ],
)
def test_what_the_classes_refuse_the_schema_refuses(path, value):
    config = copy.deepcopy(DEFAULT)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = config
    for part in parents:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    place[last] = value
    assert not is_configuration(config)
    assert not VALIDATOR.is_valid(config)


def test_the_page_has_a_row_for_every_option_of_every_kind():
    parts = re.split(r"^### (.*)$", page(), flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    count = 0
    for section in SECTIONS.values():
        for kind in section.kinds:
            text = named[f"`{section.key}: {kind}`" if section.names_by_key(kind) else f"`{kind}:`"]
            for field in dataclasses.fields(section.registry[kind]):
                assert f"\n| `{field.name}` | " in text
            count += 1
    assert count == len(named)
    for field in dataclasses.fields(CachedArrays):
        assert f"\n| `cached_arrays.*.{field.name}` | " in parts[0]
    for field in dataclasses.fields(Config):
        assert f"`{field.name}`" in parts[0] or f"## `{field.name}`" in page()


def test_the_page_tells_types_bounds_and_defaults():
    for line in (
        "| `seed` | an integer ≥ 0 | required | ",
        "| `memory_mib` | an integer ≥ 1 |  | ",
        "| `uncertainty.level` | a number > 0, < 1 | `0.95` | ",
        "| `difference` | `forward`, `backward`, `central` | required | ",
        "| `steps` | a list, each a number ≥ 1e-30, ≤ 1e+30 or `auto` | required | ",
        "| `n_steps` | an integer ≥ 1, ≤ 100,000 | `50` | ",
        "| `check_rows` | true or false | `true` | ",
    ):
        assert line in page()
    assert "None" not in page()
