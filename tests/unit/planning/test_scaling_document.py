"""The numbers of docs/scaling.md are those of the cost model and of docs/performance.md."""

import re
from math import ceil
from pathlib import Path

import pytest

from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Source, exact_source
from approxgrad.methods.method import METHODS as DESCRIBED

DOCUMENTS = Path(__file__).resolve().parents[3] / "docs"
SCALING = (DOCUMENTS / "scaling.md").read_text()
METHODS = {"Saliency": "saliency", "Integrated Gradients": "integrated_gradients"}
FEATURES, CORES, ASSUMED_GFLOPS, NIGHT = 3072, 2, 10_000, 12


def tables(text):
    """Return the tables of a document as lists of rows, heads left out."""
    found = re.findall(r"^\|.*\n\|[ -|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()] for table in found]


def rates():
    """Return evaluations per second and GFLOP of one evaluation for each model, as measured."""
    (measured,) = [table for table in tables((DOCUMENTS / "performance.md").read_text()) if "%" in table[0][-2]]
    # Model, ceiling, way, rate (range), share, GFLOP/s.
    values = {row[0]: (number(row[3].split()[0]), number(row[5])) for row in measured if row[2] == "engine"}
    return {model: (rate, gflops / rate) for model, (rate, gflops) in values.items()}


def number(text):
    return float(text.replace(",", ""))


def evaluations(method, gradient):
    """Return the evaluations for one image."""
    source = exact_source() if gradient == "exact" else Source(Difference(gradient, (0.1,)), 0.1)
    return DESCRIBED[METHODS[method]]().evaluations(source, (FEATURES,))


def test_evaluations_are_those_of_the_cost_model():
    table = tables(SCALING)[0]
    assert len(table) == 6
    for method, gradient, *counts in table:
        cost = evaluations(method, gradient)
        assert counts == [f"{images * cost:,}" for images in (1, 1_000, 1_000_000)]


def test_hours_follow_from_the_measured_rates_and_the_assumed_one():
    table, measured = tables(SCALING)[1], rates()
    assert {row[0] for row in table} == set(measured)
    for model, method, *hours in table:
        rate, work = measured[model]
        cost = evaluations(method, "forward")
        core = [images * cost * CORES / rate / 3600 for images in (1_000, 1_000_000)]
        gpu = [images * cost * work / ASSUMED_GFLOPS / 3600 for images in (1_000, 1_000_000)]
        # Two digits are given.
        assert [number(text) for text in hours[:4]] == pytest.approx([*core, *gpu], rel=0.05)
        assert number(hours[4]) == ceil(gpu[1] / NIGHT)
