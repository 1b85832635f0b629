import math

import numpy as np
import pytest
import torch

from approxgrad.kink_survey import KinkSurvey, distances, most_survey_evaluations
from approxgrad.probing import Probe
from approxgrad.stencils import stencil

WEIGHTS = np.random.default_rng(5).normal(size=(40, 6))
OFFSETS = np.random.default_rng(6).normal(size=40)


def rectifiers(x):
    """A sum of 40 rectifiers of 6 features, so that the distance to every kink is known."""
    return torch.relu(x @ torch.from_numpy(WEIGHTS).T + torch.from_numpy(OFFSETS)).sum(dim=1)


def exact_distances(points, scheme):
    """Return the distance from each point to its first kink along any feature, on the side that the scheme looks at."""
    heights = points.numpy() @ WEIGHTS.T + OFFSETS
    along = -heights[:, :, None] / WEIGHTS
    sided = (
        np.abs(along) if scheme == "central" else np.where((along > 0) == (scheme == "forward"), np.abs(along), np.inf)
    )
    return sided.min(axis=(1, 2))


def survey(points, scheme, inputs, nodes):
    probe = Probe(rectifiers, points, None, 1000)
    found = KinkSurvey(probe, stencil(scheme), inputs, nodes, np.random.default_rng(0)).kinks(0.1, 1e-12, 1e-12)
    assert probe.evaluations <= most_survey_evaluations(6, inputs * nodes)
    return found


def points(count):
    return torch.from_numpy(np.random.default_rng(7).normal(size=(count, 6)))


@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
def test_few_inputs_are_counted_exactly(scheme):
    x = points(60)
    found = survey(x, scheme, inputs=60, nodes=1)
    assert found.counted
    exact = exact_distances(x, scheme)
    np.testing.assert_allclose(1 - np.exp(-found.hazards), [(exact <= step).mean() for step in found.steps], atol=1e-7)


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_distances_along_many_path_points_are_estimated(scheme):
    x = points(1000)
    found = survey(x, scheme, inputs=50, nodes=20)
    assert not found.counted
    # In each of 50 inputs the first of 20 points: the median of 50 is good to 1 / sqrt(50), the ratio of 64 distances
    # whose logarithms scatter by less than one to 1 / 8; three times both.
    exact = np.median(exact_distances(x, scheme).reshape(20, 50).min(axis=0))
    estimated = found.reach(np.array([math.log(2) / 20]))[0]
    assert abs(math.log(estimated / exact)) < 3 * math.hypot(1 / math.sqrt(50), 1 / 8)


def test_distances_are_found_outwards_and_inwards():
    there = np.array([0.3, 5.0, 0.01, 7.0, 1000.0, 2000.0])  # two items for each of three points

    def met(steps, items):
        return there[items] <= steps

    found = distances(met, np.arange(6), np.ones(3), outwards=3)
    assert found[0] / math.sqrt(2) < 0.3 <= found[0]
    assert found[1] / math.sqrt(2) < 0.01 <= found[1]
    assert found[2] == 16  # twice the last distance that was tried
    assert math.isinf(distances(met, np.arange(4, 6), np.ones(1), outwards=0)[0])
