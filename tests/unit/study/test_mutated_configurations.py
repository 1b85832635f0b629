"""Whatever a configuration says, it is a study or every fault of it is one readable line."""

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from approxgrad.study.config_files import check_config_files
from approxgrad.study.configuration import ConfigError
from approxgrad.study.reference import schema
from approxgrad.study.study import Study
from damage import DAMAGES, LONG, SHORT, damaged

CONFIG = Path(__file__).resolve().parents[3] / "config" / "config.yaml"
DEFAULT = yaml.safe_load(CONFIG.read_text())
MORE = {
    "datasets": {
        "pictures": {"kind": "image_folder", "path": "photos", "size": [8, 8]},
        "archive": {"kind": "cifar10", "download": {"addresses": ["a.tar.gz"]}, "limit": {"test": 5}},
        "columns": {"kind": "table", "task": "regression", "path": "t.csv", "features": ["a"], "target": "y"},
        "arrays": {"kind": "table", "task": "regression", "path": "t.npz", "arrays": {"all": ["x", "y"]}},
    },
    "models": {
        "own": {
            "factory": "a.b:c",
            "options": {"x": 1},
            "weights": {"file": "w", "repository": "a/b", "sha256": "0" * 64},
        },
        "plain": {"function": "a.b:f", "outputs": 3, "batch_size": 4, "check_rows": False},
    },
    "methods": {"start": {"attribution": "integrated_gradients", "baseline": [0.5], "n_steps": 3}},
    "gradients": {"chosen": {"difference": "central", "steps": ["auto", 0.1], "dtypes": ["float64", "float32"]}},
}
for key, entries in MORE.items():
    DEFAULT[key] |= entries
DEFAULT["experiments"].append(
    {
        "datasets": list(MORE["datasets"]),
        "models": ["own", "plain"],
        "methods": ["saliency"],
        "gradients": ["chosen"],
        "samples": 2,
        "reference": "central-auto",
    }
)
DEFAULT["cached_arrays"] = {
    "maps": {
        "folder": "x",
        "pattern": "{method}_{step}.npz",
        "methods": {"s": "saliency"},
        "steps": {"low": 0.1},
        "compare_with": {"dataset": "digits", "model": "cnn"},
    }
}


def places(value, path=()):
    """Yield the path of every value of a configuration but the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def words(document):
    """Yield every key and every word of a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from words(value)
    elif isinstance(document, list):
        for value in document:
            yield from words(value)
    elif isinstance(document, str) and " " not in document:
        yield document


PLACES = list(places(DEFAULT))
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1, 2, 3, 0.5, 1e-30, 1e30, 10**40, -(10**400), 5e-324]),
)
TEXTS = st.one_of(
    st.sampled_from(sorted(set(words(schema())) | set(words(DEFAULT)))),
    st.text(max_size=12),
    st.sampled_from(
        ["", "..", "../x", "/x", "a/b", "1e-3", "1e999", "nan", "a\nb", "\x00", "x" * 300, "{method}", "a:b"]
    ),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(max_size=3), st.dates())
KEYS = st.one_of(TEXTS, st.integers(), st.none(), st.booleans())
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=6
)
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["delete", "replace", "rename", "nest", "copy", "add", "old"]),
        st.sampled_from(PLACES),
        VALUES,
        KEYS,
    ),
    min_size=1,
    max_size=3,
)


def mutated(mutations):
    config = copy.deepcopy(DEFAULT)
    for kind, (*parents, last), value, key in mutations:
        try:
            place = config
            for parent in parents:
                place = place[parent]
            match kind:
                case "delete":
                    del place[last]
                case "replace":
                    place[last] = value
                case "rename":
                    place[key] = place.pop(last)
                case "nest":
                    place[last] = {key: place[last]}
                case "copy":
                    place[last] = [place[last], place[last]]
                case "add":
                    place[last][key] = value
                case "old":
                    config["experiments"][0]["steps"] = value
        except (LookupError, TypeError):  # an earlier mutation has taken the place away
            pass
    return config


def check_lines(error):
    lines = str(error).splitlines()
    assert lines
    for line in lines:
        assert line.isprintable()
        assert ": " in line


def check_configurations(limits):
    studies = 0

    @limits
    @given(mutations=MUTATIONS)
    def check(mutations):
        nonlocal studies
        try:
            study = Study(mutated(mutations))
        except ConfigError as error:
            check_lines(error)
        else:
            assert study.cells
            assert Study(study.document).cells == study.cells
            assert all(len(folder) < 256 for cell in study.cells for folder in cell.path.split("/"))
            assert not any(".." in cell.path.split("/") for cell in study.cells)
            studies += 1

    check()
    assert studies


def check_files(limits, path):
    content = CONFIG.read_bytes()

    @limits
    @given(damages=DAMAGES)
    def check(damages):
        path.write_bytes(damaged(content, damages))
        try:
            check_config_files([path])
        except ConfigError as error:
            check_lines(error)
        else:
            assert isinstance(yaml.safe_load(path.read_text()), dict)

    check()


def test_mutated_configurations_are_studies_or_lines():
    check_configurations(SHORT)


@pytest.mark.soak
def test_thousands_of_mutated_configurations_are_studies_or_lines():
    check_configurations(LONG)


def test_damaged_configuration_files_are_mappings_or_lines(tmp_path):
    check_files(SHORT, tmp_path / "config.yaml")


@pytest.mark.soak
def test_thousands_of_damaged_configuration_files_are_mappings_or_lines(tmp_path):
    check_files(LONG, tmp_path / "config.yaml")
