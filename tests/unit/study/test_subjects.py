"""What jobs evaluate: what they are given of a rule, and baselines of a path in normalised features."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from approxgrad.storage.splits import Split, write_split
from approxgrad.study.cells import attribute_cell
from approxgrad.study.chosen_steps import choose_model_step
from approxgrad.study.measured_spectra import measure_spectrum
from approxgrad.study.needs import evaluation_options
from approxgrad.study.subjects import baseline_values, job_options, read_subject
from small_studies import entry, study

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


def test_a_model_of_more_outputs_than_named_classes_is_no_subject(tmp_path):
    rows = split(4, 0, classes=("dog", "noise"))
    write_split(tmp_path / "test", replace(rows, target=np.array([0, 1, 0, 1])), {})
    with pytest.raises(ValueError, match="outputs: got 10, and 2 classes in the data"):
        read_subject(
            {"kind": "onnx", "onnx": "m.onnx", "outputs": 10},
            None,
            tmp_path / "test",
            0,
            torch.device("cpu"),
            "float32",
        )


class Inputs(SimpleNamespace):
    """Named inputs of a rule; a rule that needs none has an empty list."""

    def get(self, name):
        return vars(self).get(name)


@pytest.mark.parametrize(
    ("function", "others"),
    [
        (attribute_cell, {"method", "samples", "seed", "choice", "spectrum", "compile_model", "shard"}),
        (choose_model_step, {"path_options", "samples", "seed"}),
        (measure_spectrum, set()),
    ],
)
def test_jobs_are_given_what_their_function_takes(function, others):
    evaluation = evaluation_options(study(entry()), "mlp") | {"threads": torch.get_num_threads()}
    parameters = SimpleNamespace(model={"kind": "mlp"}, gradient={}, sample_seed=3, device="cpu", evaluation=evaluation)
    given = job_options(SimpleNamespace(input=Inputs(weights=[], test="test", training="train"), params=parameters))
    assert given.keys() | others == inspect.signature(function).parameters.keys()
    assert (given["weights"], given["test"], given["training"], given["sample_seed"]) == (None, "test", "train", 3)
    assert given["device"] == torch.device("cpu")
    assert evaluation["threads"] == torch.get_num_threads()  # the parameters of the rule are left as they are
