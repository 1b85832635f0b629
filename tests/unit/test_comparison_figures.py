"""The figures that set published results beside this study's."""

import numpy as np
import pandas as pd
import pytest

from approxgrad.figures.published import published_boxplots
from approxgrad.figures.variants import variants

NAMES = {"dataset": "cifar10", "model": "cnn", "method": "integrated_gradients_published"}


def table(method, steps, samples, seed, scheme="forward"):
    random = np.random.default_rng(seed)
    frames = [
        pd.DataFrame(
            {
                **NAMES,
                "method": method,
                "scheme": scheme,
                "step": step,
                "reference": "exact",
                "sample": np.arange(samples),
                "pearson": random.uniform(size=samples),
                "cosine": random.uniform(size=samples),
                "mean_squared_error": random.uniform(size=samples),
                "relative_error": random.uniform(0.1, 1, samples) * step,
            }
        )
        for step in steps
    ]
    return pd.concat(frames, ignore_index=True)


def test_each_published_step_has_both_boxes_with_their_medians():
    published = table(NAMES["method"], [0.01, 0.5], 20, seed=0)
    own = table(NAMES["method"], [0.5, 0.01, 3.0], 7, seed=1)
    axes = published_boxplots(published, own, **NAMES).axes[0]
    medians = sorted(
        (line.get_xdata().mean(), line.get_ydata()[0]) for line in axes.lines if line.get_linewidth() == 1.8
    )
    expected = [t[t["step"] == step]["pearson"].median() for step in (0.01, 0.5) for t in (published, own)]
    np.testing.assert_allclose([value for _, value in medians], expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01\nn = 20, 7", "0.5\nn = 20, 7"]


def test_a_step_that_the_study_lacks_keeps_its_published_box():
    published = table(NAMES["method"], [0.01, 0.5], 20, seed=0)
    own = table(NAMES["method"], [0.5], 7, seed=1)
    axes = published_boxplots(published, own, **NAMES).axes[0]
    assert axes.get_xticklabels()[0].get_text() == "0.01\nn = 20, 0"


def test_variants_show_median_errors_over_the_steps():
    steps = [0.1, 0.001, 1.0]
    correct = table("integrated_gradients", steps, 9, seed=0)
    published = table(NAMES["method"], steps, 5, seed=1)
    figure = variants(correct, published, **NAMES)
    (axes,) = figure.axes
    for line, rows in zip(axes.lines, (correct, published), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), sorted(steps))
        np.testing.assert_allclose(line.get_ydata(), rows.groupby("step")["relative_error"].median())
    assert [line.get_label() for line in axes.lines] == [
        "correct, forward differences",
        "published variant, forward differences",
    ]
    assert "n = 5 to 9 samples" in " ".join(figure._supxlabel.get_text().split())


def test_variants_need_both():
    correct = table("integrated_gradients", [0.1], 3, seed=0)
    with pytest.raises(ValueError, match="no rows"):
        variants(correct, correct.iloc[:0], **NAMES)
