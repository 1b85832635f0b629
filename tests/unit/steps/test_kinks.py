import math

import numpy as np
import pytest

from approxgrad.steps.kink_survey import hazard
from approxgrad.steps.kinks import Kinks, best_step
from approxgrad.steps.search import Search
from problems import linear, points


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_the_density_of_kinks_is_that_of_the_side_that_counts(scheme):
    # Half of the points have a kink within 0.1 on either side, so the density is log(2) / 0.1; a one-sided
    # difference meets half of them.
    search = Search(linear, points(5, 3), None, scheme, None, 1, 0, 10)
    density = search.kink_density(np.arange(10) < 5, 0.1)
    assert density == pytest.approx(math.log(2) / 0.1 / (1 if scheme == "central" else 2))


def test_hazards_are_interpolated_and_continued():
    kinks = Kinks.measured(np.array([0.1, 0.2]), np.array([0.2, 0.4]))
    np.testing.assert_allclose(kinks.reach(np.array([0.02, 0.2, 0.3, 0.4, 0.8])), [0.01, 0.1, 0.15, 0.2, 0.4])
    # A hazard never falls with the step; where the measured one does, it grows by next to nothing.
    np.testing.assert_allclose(Kinks.measured(np.array([1.0, 2.0]), np.array([0.9, 0.8])).hazards, 0.9, rtol=1e-8)


def test_shares_of_none_and_of_all_are_what_can_be_told_from_so_many():
    np.testing.assert_allclose(hazard(np.array([0.0, 0.9, 1.0]), 50), -np.log([0.99, 0.1, 0.01]))


def test_without_noise_to_speak_of_the_step_ends_before_the_first_kink_of_most_inputs():
    kinks = Kinks(np.array([1.0, 2.0]), np.array([0.5, 1.0]))
    step, truncation = best_step(kinks, np.array([1.0]), 0.5, 1e-20, 1, 0.7, seed=0)
    assert step == pytest.approx(-math.log(0.7) / 0.5, rel=0.15)  # of 1001 inputs, 30 +- 1.5 % have a kink before
    assert truncation < 1e-6
    assert best_step(kinks, np.array([1.0]), 0.5, 1e-20, 100, 0.7, seed=0)[0] == pytest.approx(step / 100, rel=0.05)


def test_with_much_noise_the_step_goes_beyond_the_first_kinks():
    kinks = Kinks(np.array([1.0, 2.0]), np.array([0.5, 1.0]))
    # Squared error 4 / h^2 + h E[t^2] (density one), with its minimum at (8 / E[t^2])^(1/3).
    step, truncation = best_step(kinks, np.array([1e-3, -1e-3]), 0.5, 4.0, 1, 0.7, seed=0)
    assert step == pytest.approx((8 / (0.5 * 1e-6)) ** (1 / 3), rel=0.25)
    assert truncation == pytest.approx(math.sqrt(0.5e-6 * step), rel=0.25)


@pytest.mark.parametrize("rounding", [0.01, 4.0])  # a step among the simulated kinks, and one beyond them
def test_a_kink_counts_as_often_as_features_meet_it(rounding):
    kinks, sizes = Kinks(np.array([1.0, 2.0]), np.array([0.5, 1.0])), np.array([1e-3, -1e-3])
    one = best_step(kinks, sizes, 0.5, rounding, 1, 0.7, seed=0)
    assert (one[0] > 80) == (rounding == 4.0)
    # All squared errors are ten times as large, so the step stays.
    ten = best_step(kinks, sizes, 5.0, 10 * rounding, 1, 0.7, seed=0)
    assert ten == pytest.approx((one[0], math.sqrt(10) * one[1]))
