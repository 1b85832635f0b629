import numpy as np
import pytest
import torch
from torch import nn

from approxgrad.models import training
from approxgrad.models.evaluating import evaluated
from approxgrad.models.kind import ModelError
from approxgrad.models.model_files import build_model
from approxgrad.models.training import evaluate, measure_table, tensors, train
from approxgrad.storage.splits import Split
from approxgrad.storage.tables import read_table

CPU = torch.device("cpu")
OPTIONS = {"epochs": 4, "batch_size": 16, "learning_rate": 0.01}


def regression(rows, seed=0, shift=0.0):
    features = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return Split(features, features @ np.float32([1, -2, 0.5]) + np.float32(shift), feature_shape=(3,))


def classes(rows, seed=0):
    features = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return Split(features, (features[:, 0] > 0).astype(np.int64), feature_shape=(3,), classes=("no", "yes"))


def fitted(training, validation, seed=0, dropout=0.4, **changes):
    torch.manual_seed(seed)
    model = build_model(architecture="mlp", input_shape=(3,), outputs=training.outputs, hidden=[8], dropout=dropout)
    return model, train(model, training, validation, OPTIONS | changes, CPU)


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def losses(result, split="validation"):
    curves = result.curves
    return curves[(curves["split"] == split) & (curves["metric"] == "loss")].set_index("epoch")["value"]


def test_the_same_seed_gives_identical_weights_and_curves():
    first, second, other = (fitted(regression(40), regression(20, 1), seed) for seed in (3, 3, 4))
    assert torch.equal(weights(first[0]), weights(second[0]))
    assert first[1].curves.equals(second[1].curves)
    assert not torch.equal(weights(first[0]), weights(other[0]))


@pytest.mark.parametrize("data", [regression, classes])
def test_training_learns(data):
    _, result = fitted(data(200), data(100, 1), epochs=30, dropout=0.0)
    assert losses(result).min() < 0.2 * losses(result)[1]


def test_the_state_with_the_lowest_validation_loss_is_restored():
    # Validation wants the negative of what training teaches: the model is best in the first epoch.
    validation = regression(30, 1)
    validation.target[:] *= -1
    model, result = fitted(regression(100), validation, epochs=6, dropout=0.0)
    assert result.best_epoch == 1
    assert losses(result).is_monotonic_increasing
    assert evaluate(model, validation, CPU)["loss"] == losses(result)[1]
    stopped, _ = fitted(regression(100), validation, epochs=1, dropout=0.0)
    assert torch.equal(weights(model), weights(stopped))
    assert set(result.curves.loc[result.curves["best"], "epoch"]) == {1}


@pytest.mark.parametrize(("patience", "epochs"), [(1, 2), (3, 4), (50, 6)])
def test_patience_stops_after_so_many_epochs_without_improvement(patience, epochs):
    validation = regression(30, 1)
    validation.target[:] *= -1
    _, result = fitted(regression(100), validation, epochs=6, patience=patience, dropout=0.0)
    assert result.curves["epoch"].max() == epochs


def test_the_learning_rate_decays():
    # A factor of almost zero after the first epoch freezes the weights from then on.
    data = regression(40), regression(20, 1)
    once, _ = fitted(*data, epochs=1)
    frozen, _ = fitted(*data, epochs=3, decay={"factor": 1e-12, "every": 1})
    moved, _ = fitted(*data, epochs=3, decay={"factor": 0.5, "every": 1})
    assert torch.allclose(weights(once), weights(frozen), rtol=0, atol=1e-9)
    assert not torch.allclose(weights(once), weights(moved), rtol=0, atol=1e-3)


def test_a_loss_that_is_not_finite_is_an_error():
    broken = regression(20, 1)
    broken.target[0] = np.inf
    with pytest.raises(ValueError, match=r"^training: the validation loss is (inf|nan) in epoch 1"):
        fitted(regression(40), broken)


def test_a_loss_that_is_lost_later_keeps_the_best_epoch_before():
    class Fails(nn.Linear):
        def forward(self, inputs):
            self.calls = getattr(self, "calls", 0) + (not self.training)
            # Two evaluations an epoch, the second of which is that of the validation rows.
            return super().forward(inputs) * (torch.nan if self.calls >= 6 else 1)

    torch.manual_seed(0)
    result = train(Fails(3, 1), regression(40), regression(20, 1), OPTIONS, CPU)
    assert result.remark == "the validation loss is nan in epoch 3"
    assert sorted(set(result.curves["epoch"])) == [1, 2]
    assert result.best_epoch in (1, 2)
    assert np.isfinite(result.curves["value"]).all()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Flatten(), "training: the model's parameters cannot be optimised (ValueError: "),
        (nn.Linear(2, 1), "training: the model fails for 14 rows of shape (3,) (RuntimeError: "),
        (nn.Linear(3, 1).requires_grad_(False), "training: there is no gradient of the loss (RuntimeError: "),
    ],
    ids=["nothing to train", "other inputs", "no gradient"],
)
def test_what_the_model_raises_is_one_line(model, words):
    with pytest.raises(ModelError) as error:
        train(model, regression(40), regression(20, 1), OPTIONS, CPU)
    assert str(error.value).startswith(words)


def test_a_check_after_the_first_step_sees_it_and_changes_no_number():
    seen = []

    def trained(begun):
        torch.manual_seed(0)
        model = build_model(architecture="mlp", input_shape=(3,), outputs=1, hidden=[8], dropout=0.4)
        first = weights(model).clone()

        def check():
            seen.append(torch.equal(weights(model), first))
            with evaluated(model):
                model(torch.randn(2, 3))

        train(model, regression(40), regression(20, 1), OPTIONS, CPU, begun=check if begun else None)
        return weights(model)

    assert torch.equal(trained(True), trained(False))
    assert seen == [False]


def test_measures_that_are_not_finite_are_null(tmp_path):
    measure_table(tmp_path / "measures", {"loss": np.nan, "accuracy": 0.5}, 3, {})
    assert read_table(tmp_path / "measures")[0]["value"].to_pylist() == [None, 0.5]


def test_outputs_that_are_not_finite_are_no_right_answers():
    split = Split(np.zeros((2, 3), np.float32), np.array([1, 1]), feature_shape=(3,), classes=("a", "b"))
    assert evaluate(Fixed([[0.0, 1.0], [0.0, np.nan]]), split, CPU)["accuracy"] == 0.5


def test_curves_hold_every_epoch_split_and_measure():
    for data, score in ((regression, "r2"), (classes, "accuracy")):
        curves = fitted(data(40), data(20, 1))[1].curves
        assert set(curves) == {"epoch", "split", "metric", "value", "best"}
        assert set(curves["metric"]) == {"loss", score}
        assert curves.groupby(["epoch", "split", "metric"]).size().tolist() == [1] * (4 * 2 * 2)
        assert sorted(set(curves["epoch"])) == [1, 2, 3, 4]


@pytest.mark.parametrize(("rows", "sizes"), [(33, [11, 11, 11]), (32, [16, 16]), (17, [9, 8]), (5, [5])])
def test_batches_differ_by_at_most_one_row(rows, sizes):
    seen = []

    class Recorder(nn.Linear):
        def forward(self, inputs):
            if self.training:
                seen.append(len(inputs))
            return super().forward(inputs)

    train(Recorder(3, 1), regression(rows), regression(8, 1), OPTIONS | {"epochs": 1}, CPU)
    assert seen == sizes


class Fixed(nn.Module):
    """A model that returns given outputs, batch after batch."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.position = torch.tensor(outputs, dtype=torch.float32), 0

    def forward(self, inputs):
        assert not self.training
        self.position += len(inputs)
        return self.outputs[self.position - len(inputs) : self.position]


def test_measures_of_a_regression(monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_BATCH", 2)
    split = Split(np.zeros((3, 3), np.float32), np.float32([1, 2, 6]), feature_shape=(3,))
    measures = evaluate(Fixed([[1.0], [4.0], [5.0]]), split, CPU)
    # Residuals 0, 2, -1; deviations from the mean 3: -2, -1, 3.
    assert measures == pytest.approx({"loss": 5 / 3, "root_mean_squared_error": (5 / 3) ** 0.5, "r2": 1 - 5 / 14})


def test_measures_of_a_classification(monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_BATCH", 2)
    split = Split(np.zeros((3, 3), np.float32), np.array([0, 1, 1]), feature_shape=(3,), classes=("a", "b"))
    measures = evaluate(Fixed([[np.log(3), 0.0], [0.0, 0.0], [0.0, np.log(3)]]), split, CPU)
    # Probabilities of the right class 3/4, 1/2, 3/4; a tie goes to the first class.
    assert measures == pytest.approx({"loss": (2 * np.log(4 / 3) + np.log(2)) / 3, "accuracy": 2 / 3})


def test_inputs_are_normalised_and_targets_have_the_shape_of_outputs():
    split = Split(np.float32([[1, 2, 3]]), np.float32([5]), feature_shape=(3,), mean=(1.0,), std=(2.0,))
    inputs, target = tensors(split, CPU)
    assert inputs.tolist() == [[0.0, 0.5, 1.0]]
    assert target.shape == (1, 1)
    assert tensors(classes(4), CPU)[1].dtype == torch.int64
