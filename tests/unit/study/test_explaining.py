"""What pydantic finds becomes one line for each thing that is wrong, with its key and what is allowed."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, ValidationError

from approxgrad.descriptions import Description, Integer, Number, Text, option, read
from approxgrad.study.explaining import explain, joined, shortened, unknown_key


def check_even(value):
    if value % 2:
        raise ValueError("expected an\neven number")
    return value


@dataclass(frozen=True)
class Inner(Description):
    """Options inside options."""

    depth: Annotated[Integer, option("How deep.", ge=1, le=9)]
    width: Annotated[Number, option("How wide.", gt=0, lt=1)] = 0.5


@dataclass(frozen=True)
class Outer(Description):
    """Options of every form."""

    name: Annotated[Text, option("Small letters.", pattern="^[a-z]+$", max_length=5)] = "a"
    kind: Annotated[Literal["near", "far", "between"], option("Where.")] = "near"
    start: Annotated[Literal["zero", "mean"] | Number | tuple[Number, ...], option("Start.")] = "zero"
    inner: Annotated[Inner | None, option("Inside.")] = None
    several: Annotated[tuple[Inner, ...], option("Several.", max_length=2)] = ()
    counts: Annotated[dict[Annotated[Text, option("Key.", pattern="^[a-z]$")], Integer], option("Counts.")] = None
    even: Annotated[Integer, option("Even."), AfterValidator(check_even)] = 2
    values: Annotated[
        tuple[Annotated[Number, option("", ge=1, le=9)] | Literal["auto"], ...], option("Values.", min_length=1)
    ] = (1.0,)


def explained(options, key="own", extra=()):
    with pytest.raises(ValidationError) as error:
        read(Outer, options)
    return explain(error.value, Outer, options, key, extra)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"name": 3}, "own.name: got 3, expected text"),
        ({"name": "A"}, "own.name: got 'A', expected: Small letters."),
        ({"name": "abcdef"}, "own.name: got 'abcdef', expected at most 5 character(s)"),
        ({"kind": "nearby"}, "own.kind: got 'nearby', expected one of near, far, between"),
        ({"start": "meen"}, "own.start: got 'meen', expected zero, mean, a finite number or a list"),
        ({"start": [1, "x"]}, "own.start[1]: got 'x', expected a finite number"),
        ({"inner": 3}, "own.inner: got 3, expected a mapping with depth, width"),
        ({"inner": {}}, "own.inner.depth: is missing"),
        ({"inner": {"depth": 0}}, "own.inner.depth: got 0, expected at least 1"),
        ({"inner": {"depth": 10}}, "own.inner.depth: got 10, expected at most 9"),
        ({"inner": {"depth": 2.0}}, "own.inner.depth: got 2.0, expected an integer"),
        ({"inner": {"depth": 1, "width": 0}}, "own.inner.width: got 0, expected more than 0"),
        ({"inner": {"depth": 1, "width": 1}}, "own.inner.width: got 1, expected less than 1"),
        (
            {"inner": {"depth": 1, "widht": 1}},
            "own.inner.widht: unknown key, expected one of depth, width (did you mean width?)",
        ),
        ({"several": [{"depth": 1}, {"depth": "x"}]}, "own.several[1].depth: got 'x', expected an integer"),
        ({"several": [{"depth": 1}] * 3}, f"own.several: got {[{'depth': 1}] * 3!s}, expected at most 2 value(s)"),
        ({"counts": {"a": 1, "b": "x"}}, "own.counts.b: got 'x', expected an integer"),
        ({"counts": {"A": 1}}, "own.counts: got 'A', expected: Key."),
        ({"even": 3}, "own.even: got 3, expected an even number"),
        ({"values": []}, "own.values: got [], expected at least 1 value(s)"),
        ({"values": [1, 0]}, "own.values[1]: got 0, expected a number of at least 1 or auto"),
        ({"values": ["x"]}, "own.values[0]: got 'x', expected a finite number or auto"),
        ({"values": 3}, "own.values: got 3, expected a list"),
    ],
)
def test_a_fault_is_one_line(options, line):
    assert explained(options) == [line]


def test_every_fault_has_its_line():
    lines = explained({"name": 3, "inner": {"width": 2}, "values": [0, 10, "x"]})
    assert [line.partition(":")[0] for line in lines] == [
        "own.name",
        "own.inner.depth",
        "own.inner.width",
        "own.values[0]",
        "own.values[1]",
        "own.values[2]",
    ]


def test_keys_beside_the_options_are_allowed_too():
    (line,) = explained({"kin": 1}, extra=["architecture"])
    assert line.startswith("own.kin: unknown key, expected one of architecture, counts, even, inner, kind, ")
    assert line.endswith(" (did you mean kind?)")


def test_at_the_top_a_key_stands_alone():
    assert explained({"kind": 3}, key="") == ["kind: got 3, expected one of near, far, between"]


def test_an_unknown_key_comes_with_the_one_that_may_have_been_meant():
    assert unknown_key("a.sise", "sise", ["size", "word"]) == (
        "a.sise: unknown key, expected one of size, word (did you mean size?)"
    )
    assert unknown_key("a.x", "x", ["size", "word"]) == "a.x: unknown key, expected one of size, word"


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [("", "a", "a"), ("config", "a", "a"), ("a.b", "c", "a.b.c"), ("a", "x\ny", "a.'x\\ny'"), ("a", "", "a.''")],
)
def test_keys_are_joined_to_one_line(key, name, expected):
    assert joined(key, name) == expected


def test_values_are_shortened_to_sixty_characters():
    assert shortened("x" * 58) == repr("x" * 58)
    assert shortened("x" * 59) == "'" + "x" * 56 + "..."
    assert shortened(list(range(100))).endswith("...")
