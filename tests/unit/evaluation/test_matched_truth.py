"""A model that is the truth agrees with the matched truth entirely, and with the true effects as they are often not."""

import numpy as np
import pytest
import torch

from approxgrad import attribute
from approxgrad.datasets.synthetic import BETA, Synthetic
from approxgrad.evaluation.matched_truth import MatchedTruth
from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.evaluation.truths import MATCHED, TRUTH
from approxgrad.storage.attributions import Attributions, write_attributions
from figure_data import described as source_described

SCALE = {"mean": [0.5] * 12, "std": [2.0, *[0.5] * 11]}
METADATA = {"feature_shape": [12], "normalisation": SCALE}
BASELINE = [0.25] * 12


def described(method, effect="linear", **options):
    return {"dataset": {"kind": "synthetic", "effect": effect}, "method": {"attribution": method, **options}}


def inputs(rows=40, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 12)).astype(np.float32)


def truth(model_inputs):
    """The linear effects of normalised inputs, as a model with one output."""
    features = model_inputs * torch.tensor(SCALE["std"]) + torch.tensor(SCALE["mean"])
    return (features * torch.tensor(BETA["linear"]) + 0.25).sum(dim=1, keepdim=True)


def effects(values):
    return Synthetic(effect="linear").true_effects(values * np.array(SCALE["std"]) + np.array(SCALE["mean"]))[0]


METHODS = [("saliency", {}), ("input_x_gradient", {}), ("integrated_gradients", {"baseline": 0.25})]


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_model_that_is_the_truth_agrees_with_the_matched_truth_only(tmp_path, method, options):
    x = inputs()
    given = {"baselines": torch.full((12,), 0.25)} if options else {}
    maps = attribute(truth, torch.from_numpy(x), method=method, gradient="exact", **given).numpy()
    own = source_described("exact")
    metadata = METADATA | own | {"signed": method != "saliency", "baseline_values": BASELINE if options else None}
    write_attributions(
        tmp_path / "exact.parquet",
        Attributions(np.arange(len(x)), maps, x, None, effects(x).astype(np.float32), metadata),
    )
    table = evaluate_method([tmp_path / "exact.parquet"], [], described=described(method, **options)).to_pandas()
    by_reference = table.set_index("reference")
    assert set(by_reference.index) == {TRUTH, MATCHED}
    # Sums of twelve terms in single precision.
    assert by_reference.loc[MATCHED, "relative_error"].max() < 1e-5
    assert by_reference.loc[MATCHED, "pearson"].min() > 1 - 1e-9
    assert by_reference.loc[TRUTH, "pearson"].median() < 0.9
    assert by_reference.loc[TRUTH, "relative_error"].median() > 0.3


def test_true_slopes_are_those_of_the_effects():
    """Central differences of plateaus are exact, those of the quadratic tails up to rounding; jumps are left out."""
    step = 1e-4
    features = np.linspace(-3, 3, 12 * 50).reshape(-1, 12)
    for effect in ("linear", "nonlinear"):
        kind = Synthetic(effect=effect)
        slopes = kind.true_effects(features)[1]
        expected = (kind.true_effects(features + step)[0] - kind.true_effects(features - step)[0]) / (2 * step)
        smooth = np.abs(expected) < 100
        assert smooth.mean() > 0.98
        np.testing.assert_allclose(slopes[smooth], expected[smooth], rtol=0, atol=1e-9)
    assert (slopes == 0).mean() > 0.3


def test_slopes_are_by_the_inputs_of_the_model():
    found = MatchedTruth(described("gradient"), METADATA)(inputs().astype(float))
    np.testing.assert_allclose(found, np.broadcast_to(np.array(BETA["linear"]) * SCALE["std"], found.shape))


def test_what_an_effect_gains_from_the_baseline_has_no_offset():
    x = inputs().astype(float)
    own = MatchedTruth(described("integrated_gradients"), METADATA | {"baseline_values": [0.0]})(x)
    np.testing.assert_allclose(own, effects(x) - effects(0 * x), rtol=0, atol=1e-12)
    assert MatchedTruth(described("integrated_gradients"), METADATA)(x) is None


def test_effects_that_are_known_of_the_rows_alone_have_no_matched_truth():
    assert MatchedTruth({}, METADATA)(inputs().astype(float)) is None
