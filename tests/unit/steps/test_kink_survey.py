import math

import numpy as np
import pytest
import torch

from approxgrad.gradients.stencils import stencil
from approxgrad.steps import kink_survey, probing
from approxgrad.steps.distances import distances
from approxgrad.steps.kink_survey import KinkSurvey, most_survey_evaluations
from approxgrad.steps.probing import Probe

WEIGHTS = np.random.default_rng(5).normal(size=(40, 6))
OFFSETS = np.random.default_rng(6).normal(size=40)


def rectifiers(x):
    """A sum of 40 rectifiers of 6 features, so that the distance to every kink is known."""
    return torch.relu(x @ torch.from_numpy(WEIGHTS).T + torch.from_numpy(OFFSETS)).sum(dim=1)


def exact_distances(points, scheme):
    """Return the distance from each point to its first kink along any feature, on the side that the scheme uses."""
    heights = points.numpy() @ WEIGHTS.T + OFFSETS
    along = -heights[:, :, None] / WEIGHTS
    sided = (
        np.abs(along) if scheme == "central" else np.where((along > 0) == (scheme == "forward"), np.abs(along), np.inf)
    )
    return sided.min(axis=(1, 2))


def survey(points, scheme, inputs, nodes):
    probe = Probe(rectifiers, points, None, 1000)
    places = np.arange(inputs * nodes).reshape(nodes, inputs)
    found = KinkSurvey(probe, stencil(scheme), places, np.random.default_rng(0)).kinks(0.1, 1e-12, 1e-12)
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


def test_features_that_were_not_drawn_bring_kinks_nearer():
    # Each of 800 features has its own kink, but only 192 are drawn: without a correction distances are four times too
    # large. One estimate is good to a factor of e, so the mean of eight to e^(3 / sqrt(8)) at three standard errors.
    errors = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        x = torch.from_numpy(generator.normal(size=(60, 800)))
        probe = Probe(lambda batch: torch.relu(batch).sum(dim=1), x, None, 1000)
        found = KinkSurvey(probe, stencil("central"), np.arange(60)[None], generator).kinks(0.1, 1e-12, 1e-12)
        assert probe.evaluations <= most_survey_evaluations(800, 60)
        assert not found.counted
        errors.append(math.log(found.reach(np.array([math.log(2)]))[0] / float(x.abs().amin(dim=1).median())))
    assert abs(np.mean(errors)) < 3 / math.sqrt(8)


def counted(points, scheme, places, distance, model=rectifiers):
    """Return the counted steps and shares of inputs with a kink in reach, and the evaluations."""
    probe = Probe(model, points, None, 1000)
    survey = KinkSurvey(probe, stencil(scheme), places, np.random.default_rng(0))
    found = survey.counted_kinks(distance, 1e-12, 1e-12)
    assert found.counted
    return found.steps, 1 - np.exp(-found.hazards * len(places)), probe.evaluations


@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
@pytest.mark.parametrize("used", [50, 20])
def test_kinks_along_many_path_points_are_counted_exactly(scheme, used, monkeypatch):
    monkeypatch.setattr(probing, "ELEMENTS", 1000)  # in many parts
    x = points(1000)
    places = np.arange(1000).reshape(20, 50)[:, :used]
    exact = exact_distances(x, scheme)[places].min(axis=0)
    steps, shares, evaluations = counted(x, scheme, places, np.median(exact))
    assert steps[-1] == pytest.approx(kink_survey.BEYOND * np.median(exact))
    near = shares <= 0.8  # further out the points of the paths are counted instead
    assert shares.min() <= kink_survey.RARE
    expected = np.array([(exact <= step).mean() for step in steps])
    np.testing.assert_allclose(shares[near], expected[near], atol=1e-7)
    # Two for every pair, one for every point and four to see whether it lies on a kink; and few for those with kinks.
    pairs = 20 * used * 6
    assert 2 * pairs < evaluations - 5 * 20 * used < 3 * pairs


def test_points_are_counted_where_almost_all_inputs_have_a_kink_in_reach():
    x, places = points(1000), np.arange(1000).reshape(20, 50)
    probe = Probe(rectifiers, x, None, 1000)
    exact = exact_distances(x, "forward")
    median = np.median(exact.reshape(20, 50).min(axis=0))
    found = KinkSurvey(probe, stencil("forward"), places, np.random.default_rng(0)).counted_kinks(median, 1e-12, 1e-12)
    of_inputs = np.array([(exact.reshape(20, 50).min(axis=0) <= step).mean() for step in found.steps])
    of_points = np.array([(exact <= step).mean() for step in found.steps])
    saturated = of_inputs > 0.9
    assert saturated.any()
    assert (of_inputs[~saturated] > 0.8).any()
    expected = np.where(saturated, kink_survey.hazard(of_points, 1000), kink_survey.hazard(of_inputs, 50) / 20)
    np.testing.assert_allclose(found.hazards, np.maximum.accumulate(expected), rtol=1e-7)


def test_a_model_is_never_given_an_empty_batch():
    def model(batch):
        assert len(batch)
        return rectifiers(batch) + torch.maximum(batch[:, 0], batch[:, 1])

    x = points(400)
    x[:8, 0] = x[:8, 1]  # a share of 8 of 20 is on a kink, more than rare, whatever the step
    steps, shares, _ = counted(x, "forward", np.arange(400).reshape(20, 20), 1e-3, model)
    assert len(steps) == kink_survey.FINE_LEVELS
    assert shares.min() == pytest.approx(0.4)


@pytest.mark.parametrize("tied", [4, 10])
def test_inputs_on_a_kink_have_one_in_reach_unless_they_are_the_majority(tied):
    def with_tie(x):
        return rectifiers(x) + torch.maximum(x[:, 0], x[:, 1])

    x = points(400)
    x[np.arange(tied), 0] = x[np.arange(tied), 1]  # the first of 20 points of some of 20 inputs
    x[tied:, 0] = x[tied:, 1] + torch.where(x[tied:, 0] > x[tied:, 1], 5, -5)  # no such kink near the others
    places = np.arange(400).reshape(20, 20)
    exact = exact_distances(x, "forward").reshape(20, 20).min(axis=0)
    steps, shares, _ = counted(x, "forward", places, np.median(exact), with_tie)
    reached = exact[:, None] <= steps
    if tied == 4:
        reached[:tied] = True
    near = shares <= 0.8
    np.testing.assert_allclose(shares[near], reached.mean(axis=0)[near], atol=1e-7)


def test_noise_is_not_taken_for_a_kink_at_the_point():
    def noisy(batch):
        return rectifiers(batch) + 2e-9 * torch.sin(1e9 * batch.sum(dim=1)) * (batch[:, 0] > 50)

    x = points(400)
    x[:6, 0] += 100  # second differences of noise, up to 8e-9, at a point of 6 of 20 inputs
    exact = exact_distances(x, "forward").reshape(20, 20).min(axis=0)
    survey = KinkSurvey(
        Probe(noisy, x, None, 1000), stencil("forward"), np.arange(400).reshape(20, 20), np.random.default_rng(0)
    )
    found = survey.counted_kinks(np.median(exact), 1e-7, 1e-9)
    shares = 1 - np.exp(-20 * found.hazards)
    near = shares <= 0.8
    expected = np.array([(exact <= step).mean() for step in found.steps])
    np.testing.assert_allclose(shares[near], expected[near], atol=1e-7)


def test_distances_are_found_outwards_and_inwards():
    there = np.array([0.3, 5.0, 0.01, 7.0, 1000.0, 2000.0])  # two items for each of three points

    def met(steps, items):
        return there[items] <= steps

    found = distances(met, np.arange(6), np.ones(3), outwards=3)
    assert found[0] / math.sqrt(2) < 0.3 <= found[0]
    assert found[1] / math.sqrt(2) < 0.01 <= found[1]
    assert found[2] == 16  # twice the last distance that was tried
    assert math.isinf(distances(met, np.arange(4, 6), np.ones(1), outwards=0)[0])
