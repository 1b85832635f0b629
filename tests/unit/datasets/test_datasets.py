import math
import os
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.datasets import load_digits

from approxgrad.datasets import synthetic
from approxgrad.datasets.digits import IMAGES, Digits
from approxgrad.datasets.kind import DATASETS, PARTS
from approxgrad.datasets.normalisation import Normalisation
from approxgrad.datasets.synthetic import Rows, Synthetic
from approxgrad.descriptions import read, written

SHARED = Path(os.environ.get("APPROXGRAD_SHARED") or Path(__file__).resolve().parents[4] / "shared")
PUBLISHED = SHARED / "published" / "synthetic" / "nonlinear.npz"
DIGITS = Digits(normalisation=Normalisation((0.3,), (0.4,)))
EDGE = NormalDist().inv_cdf(0.75)


def effect_of_first(value, effect):
    """The effect of the first feature, whose factor is -1 in both data sets, without the offset."""
    features = np.zeros((1, 12))
    features[0, 0] = value
    return -(synthetic.effects(features, effect)[0, 0] - 0.25)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (0, 1),
        (0.6744, 1),
        (-0.6744, 1),
        (EDGE, -1),
        (-EDGE, -1),
        (0.6746, -1),
        (1.4999, -1),
        (-1.4999, -1),
        (1.5, -1),
        (-1.5, -1),
        (2, 0.05 * 1.75 - 1),
        (-2, -0.05 * 1.75 - 1),
        (4, 0.05 * 13.75 - 1),
    ],
)
def test_nonlinear_effects_are_plateaus_with_tails(value, shape):
    assert effect_of_first(value, "nonlinear") == pytest.approx(shape, rel=1e-12)


@pytest.mark.parametrize("value", [0, 0.5, -3])
def test_linear_effects_are_proportional(value):
    assert effect_of_first(value, "linear") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("effect", ["linear", "nonlinear"])
def test_effects_are_scaled_by_feature(effect):
    beta = synthetic.effects(np.ones((1, 12)), effect)[0] - 0.25
    expected = {
        "linear": [-1, -0.5, 0.8, 0, -1.6, 2, 0.5, 2.3, 1.5, -1.75, -0.7, 1.9],
        "nonlinear": [1, 2.5, -2.8, 0, 1.6, -2, -0.5, -2.3, -1.5, 1.75, 1.7, -1.9],
    }
    np.testing.assert_allclose(beta, expected[effect], rtol=0, atol=1e-12)


@pytest.mark.skipif(
    not PUBLISHED.is_file(), reason=f"the published data are not at {PUBLISHED} (set APPROXGRAD_SHARED)"
)
def test_effects_are_the_published_ones():
    published = np.load(PUBLISHED)
    np.testing.assert_array_equal(synthetic.BETA["nonlinear"], published["beta"])
    ours = synthetic.effects(published["X_test"], "nonlinear")
    np.testing.assert_allclose(ours, published["true_effects"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("effect", ["linear", "nonlinear"])
def test_synthetic_targets_are_the_sum_of_effects_with_unit_noise(effect):
    parts = Synthetic(effect=effect, rows=Rows(4000, 2, 2)).prepare(seed=5)
    train = parts["train"]
    np.testing.assert_allclose(
        train.effects, synthetic.effects(train.features.astype(float), effect), rtol=0, atol=1e-5
    )
    noise = train.target - train.effects.sum(axis=1) - 0.25
    # Standard errors: 1 / sqrt(4000) = 0.016 for the mean and 0.011 for the standard deviation.
    assert abs(noise.mean()) < 0.08
    assert noise.std() == pytest.approx(1, abs=0.06)
    assert np.abs(train.features.mean(axis=0)).max() < 2.1
    assert train.features.var(axis=0) == pytest.approx(np.ones(12), abs=0.25)


def test_synthetic_parts_share_the_distribution_and_follow_the_seed():
    own = Synthetic(effect="linear", rows=Rows(2000, 20, 2000))
    first, second, other = (own.prepare(seed) for seed in (1, 1, 2))
    assert {name: len(part.target) for name, part in first.items()} == written(own)["rows"]
    assert (own.training_rows, own.test_rows, own.has_truth) == (2000, 2000, True)
    for name in PARTS:
        np.testing.assert_array_equal(first[name].features, second[name].features)
        np.testing.assert_array_equal(first[name].target, second[name].target)
        assert (first[name].features != other[name].features).any()
        assert (first[name].feature_shape, first[name].classes) == ((12,), ())
        assert first[name].features.dtype == first[name].target.dtype == np.float32
    means = [first[name].features.mean(axis=0) for name in ("train", "test")]
    np.testing.assert_allclose(*means, rtol=0, atol=0.15)
    assert (first["train"].features[:20] != first["validation"].features).any()


@pytest.fixture(scope="module")
def split():
    return DIGITS.prepare(seed=3)


def keys(part):
    return [row.tobytes() + bytes([label]) for row, label in zip(part.features, part.target, strict=True)]


def test_digits_are_split_into_disjoint_parts_that_hold_every_image(split):
    images = load_digits()
    everything = sorted(keys(split["train"]) + keys(split["validation"]) + keys(split["test"]))
    reference = [
        row.astype(np.float32).tobytes() + bytes([y]) for row, y in zip(images.data / 16, images.target, strict=True)
    ]
    assert everything == sorted(reference)
    assert len(set(reference)) == len(reference) == IMAGES


def test_digits_parts_have_the_configured_sizes(split):
    assert len(split["train"].target) == DIGITS.training_rows
    assert len(split["test"].target) == DIGITS.test_rows == math.ceil(0.25 * 1797) == 450
    assert len(split["validation"].target) == math.ceil(0.15 * 1797)


def test_digits_parts_are_stratified(split):
    shares = np.bincount(load_digits().target) / IMAGES
    for part in split.values():
        counts = np.bincount(part.target, minlength=10)
        np.testing.assert_allclose(counts, shares * len(part.target), rtol=0, atol=1.5)


def test_digits_follow_the_seed(split):
    again, other = DIGITS.prepare(seed=3), DIGITS.prepare(seed=4)
    for name in PARTS:
        np.testing.assert_array_equal(split[name].features, again[name].features)
        np.testing.assert_array_equal(split[name].target, again[name].target)
    assert keys(split["test"]) != keys(other["test"])


def test_digits_know_their_shape_classes_and_normalisation(split):
    part = split["test"]
    assert part.feature_shape == (1, 8, 8)
    assert part.classes == tuple("0123456789")
    assert part.outputs == 10
    assert part.features.min() == 0
    assert part.features.max() == 1
    np.testing.assert_allclose(part.model_inputs().reshape(450, 64), (part.features - 0.3) / 0.4, rtol=0, atol=1e-6)
    plain = Digits().prepare(seed=3)
    np.testing.assert_array_equal(plain["test"].model_inputs().reshape(450, 64), part.features)


MINIMAL = {
    "digits": {},
    "synthetic": {"effect": "linear"},
    "cifar10": {},
    "image_folder": {"path": "photos", "size": [8, 8]},
    "table": {"task": "regression", "path": "a.csv", "features": ["a"], "target": "y"},
}


def test_every_kind_is_read_from_what_it_writes():
    assert list(MINIMAL) == list(DATASETS)
    for name, options in MINIMAL.items():
        own = read(DATASETS[name], options)
        assert own.faults() == []
        assert read(DATASETS[name], written(own)) == own
        # The options on which the rows depend are enough to prepare them.
        assert read(DATASETS[name], own.tracked()).tracked() == own.tracked()
        assert list(own.own_files.values()) == ([] if own.downloads else own.sources("own"))
