"""Learning curves."""

import numpy as np
import pytest

from approxgrad.figures.learning_curves import learning_curves
from figure_data import (
    curve_table,
    drawn_text,
    parameters,
)

LOOKS = parameters()


@pytest.mark.parametrize(("other", "label"), [("accuracy", "accuracy"), ("r2", "R²")])
def test_curves_of_both_splits_and_the_best_epoch(other, label):
    figure = learning_curves(curve_table(other), LOOKS["labels"])[0]
    loss, measure = figure.axes
    assert loss.get_ylabel().startswith("loss")
    assert measure.get_ylabel().startswith(label)
    for axes in figure.axes:
        assert axes.get_xlim() == pytest.approx((0.84, 5.16))
        assert axes.get_xticks().tolist() == [1, 2, 3, 4, 5]
        training, validation, best = axes.lines
        np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_allclose(training.get_ydata(), 1 / np.arange(1, 6))
        np.testing.assert_allclose(validation.get_ydata(), 2 / np.arange(1, 6))
        assert set(best.get_xdata()) == {3}
    names = [text.get_text() for text in loss.get_legend().get_texts()]
    assert names == ["training rows", "validation rows", "best epoch: 3"]
    assert "data set: digits, model: CNN" in drawn_text(figure)


@pytest.mark.parametrize(("epochs", "marker"), [(1, "o"), (20, "o"), (21, "")])
def test_few_epochs_are_marked(epochs, marker):
    loss, measure = learning_curves(curve_table(epochs=epochs, best=1), LOOKS["labels"])[0].axes
    assert [line.get_marker() for line in loss.lines[:2]] == [marker] * 2
    ticks = measure.get_xticks()
    assert ticks[0] == 1
    assert (np.diff(ticks) > 0).all()
    assert ticks[-1] <= epochs
    assert 0 < measure.get_xlim()[0] < 1


def test_incomplete_curves_are_refused():
    curves = curve_table()
    with pytest.raises(ValueError, match="curves: expected the metric loss and one of accuracy, r2"):
        learning_curves(curves[curves["metric"] == "loss"], LOOKS["labels"])[0]
    with pytest.raises(ValueError, match="curves: expected one best epoch, got 0"):
        learning_curves(curves.assign(best=False), LOOKS["labels"])[0]
