"""Baselines of a path, in normalised features."""

import numpy as np
import pytest

from approxgrad.storage.splits import Split, write_split
from approxgrad.study.subjects import baseline_values

FEATURES = 4


def split(rows, seed, **changes):
    features = np.random.default_rng(seed).normal(size=(rows, FEATURES)).astype(np.float32)
    return Split(features, np.zeros(rows, np.float32), feature_shape=(FEATURES,), **changes)


def test_baselines_have_one_number_or_one_for_each_feature(tmp_path):
    shape = (1, 2, 2)
    assert baseline_values("zero", None, shape).tolist() == [[[0.0]]]
    assert baseline_values(1.5, None, shape).tolist() == [[[1.5]]]
    assert baseline_values([1.0, 2.0, 3.0, 4.0], None, shape).tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    train = split(20, 2, mean=(0.5,), std=(2.0,))
    write_split(tmp_path / "train", train, {})
    mean = baseline_values("mean", tmp_path / "train", (FEATURES,))
    np.testing.assert_allclose(mean, train.model_inputs().mean(axis=0), rtol=0, atol=1e-6)
    other = split(20, 3, mean=(0.5,), std=(2.0,))
    write_split(tmp_path / "test", other, {})
    test_mean = baseline_values("test_mean", tmp_path / "train", (FEATURES,), tmp_path / "test")
    np.testing.assert_allclose(test_mean, other.model_inputs().mean(axis=0), rtol=0, atol=1e-6)
    assert np.abs(test_mean - mean).max() > 0.01
    for values in (baseline_values("zero", None, shape), mean, test_mean):
        assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("baseline", "complaint"),
    [
        ([1.0, 2.0, 3.0], "baseline: got 3 numbers, expected 4, one for each feature"),
        ([1.0], "baseline: got 1 numbers, expected 4, one for each feature"),
        ("mean", "baseline: mean needs the training split"),
        ("test_mean", "baseline: test_mean needs the test split"),
    ],
)
def test_unfit_baselines_are_refused(baseline, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        baseline_values(baseline, None, (1, 2, 2))
