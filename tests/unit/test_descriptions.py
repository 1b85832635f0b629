import dataclasses
import subprocess
import sys
from typing import Annotated, Any, Literal, get_args, get_type_hints

import pytest
from pydantic import ValidationError

from approxgrad.descriptions import (
    Description,
    Flag,
    Integer,
    Number,
    Once,
    Text,
    option,
    plain,
    read,
    written,
)
from approxgrad.study.configuration import SECTIONS
from approxgrad.study.sections import Config
from small_studies import ROOT

# Options of everything that is described


def descriptions():
    """Yield every class with options: those of all kinds, those of the top level, and those inside these."""
    waiting: list[Any] = [Config, *(kind for section in SECTIONS.values() for kind in section.registry.values())]
    found: list[Any] = []
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, type) and issubclass(hint, Description):
            if hint not in found:
                found.append(hint)
                waiting += get_type_hints(hint, include_extras=True).values()
        else:
            waiting += get_args(hint)
    return found


@pytest.mark.parametrize("description", descriptions(), ids=lambda description: description.__name__)
def test_every_option_has_a_type_and_a_line_of_text(description):
    hints = get_type_hints(description, include_extras=True)
    for field in dataclasses.fields(description):
        *_, line = (own.description for own in hints[field.name].__metadata__ if getattr(own, "description", None))
        assert line[0].isupper() or line[0].isdigit(), f"{field.name}: {line}"
        assert line.endswith("."), f"{field.name}: {line}"
        assert line.isprintable(), f"{field.name}: {line}"


@pytest.mark.parametrize("description", descriptions(), ids=lambda description: description.__name__)
def test_every_description_says_what_it_is_and_cannot_be_changed(description):
    assert description.__doc__.splitlines()[0].endswith(".")
    # The text that a dataclass without a docstring has.
    assert not description.__doc__.startswith(f"{description.__name__}(")
    assert description.__dataclass_params__.frozen


@pytest.mark.parametrize("section", SECTIONS)
def test_kinds_are_found_by_their_names(section):
    registry = SECTIONS[section].registry
    for name, kind in registry.items():
        assert kind.name == name
        assert registry.module(name) == kind.__module__


@pytest.mark.parametrize("section", SECTIONS)
def test_kinds_that_need_no_option_come_back_as_they_are_written(section):
    own = [kind for kind in SECTIONS[section].registry.values() if not required(kind)]
    assert own or section == "gradients"
    for kind in own:
        assert read(kind, written(kind())) == kind()


def required(kind):
    missing = dataclasses.MISSING
    return [field for field in dataclasses.fields(kind) if field.default is field.default_factory is missing]


def test_planning_a_study_imports_no_large_library():
    code = (
        "import sys, yaml\n"
        "from approxgrad.study.study import Study\n"
        "study = Study(yaml.safe_load(open('config/config.yaml')))\n"
        "study.document, study.labels, study.choices, study.evaluating, study.families('digits')\n"
        "large = {'torch', 'torchvision', 'captum', 'matplotlib', 'pandas', 'scipy', 'sklearn'}\n"
        "print(sorted(large & set(sys.modules)))"
    )
    assert run(code) == "[]"


def test_the_python_interface_works_without_pydantic():
    code = (
        "import sys; sys.modules['pydantic'] = None\n"
        "import torch\n"
        "from approxgrad import FiniteDifference, attribute\n"
        "from approxgrad.methods.method import METHODS\n"
        "source = FiniteDifference(0.5)\n"
        "for method in METHODS:\n"
        "    if METHODS[method].takes_gradients:\n"
        "        own = {'sigma': 0.1} if method == 'smoothgrad' else {}\n"
        "        found = attribute(lambda x: 2 * x.sum(1), torch.ones(1, 1), method=method, gradient=source, **own)\n"
        "        print(round(float(found), 2))\n"
        "print(float(attribute(lambda x: 2 * x.sum(1), torch.ones(1, 1), method='feature_ablation')))"
    )
    assert run(code).split() == ["2.0", "2.0", "2.0", "2.0", "2.0", "1.02", "2.0"]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# One description


@dataclasses.dataclass(frozen=True)
class Inner(Description):
    """Options inside options."""

    depth: Annotated[Integer, option("How deep.", ge=1)]


@dataclasses.dataclass(frozen=True)
class Outer(Description):
    """Options of every type."""

    count: Annotated[Integer, option("How many.", ge=1)] = 1
    size: Annotated[Number, option("How large.")] = 0.5
    word: Annotated[Text, option("What word.")] = "a"
    whether: Annotated[Flag, option("Whether.")] = True
    values: Annotated[tuple[Number | Literal["auto"], ...], option("Values."), Once] = ()
    inner: Annotated[Inner | None, option("What is inside.")] = None
    free: Annotated[dict[str, Any], option("Anything.")] = dataclasses.field(default_factory=dict)


def test_options_are_read_as_they_are_written():
    given = {"count": 3, "size": 2, "values": [1, "auto"], "inner": {"depth": 2}, "free": {"x": None}}
    own = read(Outer, given)
    assert own == Outer(3, 2.0, "a", True, (1.0, "auto"), Inner(2), {"x": None})
    assert written(own) == {"word": "a", "whether": True} | given
    assert read(Outer, written(own)) == own
    assert "inner" not in written(Outer())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 2.0),
        ("count", True),
        ("count", "2"),
        ("count", 0),
        ("size", "0.5"),
        ("size", True),
        ("size", float("nan")),
        ("size", float("inf")),
        ("word", 3),
        ("whether", 1),
        ("whether", "yes"),
        ("values", [1, 1.0]),
        ("values", ["auto", "auto"]),
        ("values", ["other"]),
        ("inner", {}),
        ("inner", {"depth": 1, "width": 1}),
        ("colour", 1),
    ],
)
def test_options_of_another_type_or_name_are_refused(name, value):
    with pytest.raises(ValidationError):
        read(Outer, {name: value})


def test_plain_values_are_those_of_yaml_and_json():
    assert plain({"a": ({"b": (1, None)}, [2.0])}) == {"a": [{"b": [1, None]}, [2.0]]}


# Registries


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A package with two modules, of which each describes a thing, and its registry."""
    package = tmp_path / "own_house"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from approxgrad.descriptions import Registry\n"
        'THINGS = Registry("thing", __name__, {"first": "one", "second": "two"})\n'
    )
    for module, name in (("one", "first"), ("two", "second")):
        text = f"from own_house import THINGS\n@THINGS.add\nclass Thing:\n    name = {name!r}\n"
        (package / f"{module}.py").write_text(text)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    import own_house

    yield own_house.THINGS
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "own_house":
            del sys.modules[name]


def thing(name):
    return type("Thing", (), {"name": name})


def test_a_member_is_imported_when_it_is_first_asked_for(house):
    assert (list(house), len(house), "first" in house, "third" in house) == (["first", "second"], 2, True, False)
    assert house.module("first") == "own_house.one"
    assert not {"own_house.one", "own_house.two"} & set(sys.modules)
    assert house["first"].__module__ == "own_house.one"
    assert house["first"] is house["first"]
    assert "own_house.two" not in sys.modules
    assert {name: member.name for name, member in house.items()} == {"first": "first", "second": "second"}
    with pytest.raises(KeyError):
        house["third"]


def test_a_member_from_elsewhere_comes_last(house):
    own = thing("third")
    assert house.add(own) is own
    assert list(house) == ["first", "second", "third"]
    assert house["third"] is own
    assert house.module("third") == __name__


@pytest.mark.parametrize("asked", [False, True])
def test_a_name_is_taken_once(house, asked):
    """Also where the package's own member is not imported yet."""
    if asked:
        assert house["first"]
    with pytest.raises(ValueError, match=r"^the name first is taken by another thing$"):
        house.add(thing("first"))
    house.add(thing("third"))
    with pytest.raises(ValueError, match=r"^the name third is taken by another thing$"):
        house.add(thing("third"))
    assert house["first"].__module__ == "own_house.one"
