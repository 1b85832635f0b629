"""Attributions of one's own as a picture."""

import numpy as np
import pandas as pd
import pytest
import torch

from approxgrad import plot_attribution

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 3, 4, 5))


def drawn(axes):
    """Return the pixels of the pictures in some panels."""
    return [panel.get_images()[0] for panel in axes if panel.get_images()]


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_images_stand_beside_their_maps(make):
    figure = plot_attribution(make(IMAGES), make(IMAGES + 1), titles=["one", "two"])
    pictures = drawn(figure.axes)
    assert [picture.get_array().shape for picture in pictures] == [(4, 5, 3), (4, 5)] * 2
    for picture, own in zip(pictures[1::2], IMAGES, strict=True):
        np.testing.assert_allclose(picture.get_array(), own.sum(axis=0))
        low, high = picture.get_clim()
        assert low == -high
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["one", "two"]
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["attribution"] * 2
    figure.canvas.draw()


def test_maps_without_signs_begin_at_zero():
    (picture,) = drawn(plot_attribution(np.abs(IMAGES[:1])).axes)
    assert picture.get_clim()[0] == 0
    signed = drawn(plot_attribution(np.stack([np.abs(IMAGES[0]), -np.abs(IMAGES[0])])).axes)
    assert {picture.get_cmap().name for picture in signed} == {"RdBu_r"}


@pytest.mark.parametrize("values", [np.zeros((1, 1, 3, 3)), np.ones((1, 3, 3, 3))])
def test_constant_maps_are_drawn(values):
    plot_attribution(values, values).canvas.draw()


def test_rows_are_bars_of_the_largest_features():
    table = pd.DataFrame([[0.1, -3.0, 2.0]], columns=["age", "city", "rooms"])
    (axes,) = plot_attribution(table, table * 10, most_features=2).axes
    assert [bar.get_width() for bar in axes.patches] == [2.0, -3.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rooms = 20", "city = -30"]
    (axes,) = plot_attribution(table.to_numpy(), feature_names=["a", "b", "c"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"attributions": np.ones(3)}, r"attributions: expected shape .* got \(3,\)"),
        ({"attributions": np.ones((21, 2))}, r"with N from 1 to 20, got \(21, 2\)"),
        ({"attributions": np.full((1, 2), np.nan)}, r"attributions: expected finite values"),
        ({"attributions": np.ones((1, 2)), "inputs": np.ones((1, 3))}, r"inputs: expected the shape"),
        ({"attributions": np.ones((1, 2)), "titles": []}, r"titles: expected 1, one for each input, got 0"),
        ({"attributions": np.ones((1, 2)), "titles": "dog"}, r"titles: got the text 'dog', expected a list"),
        ({"attributions": np.ones((1, 2)), "feature_names": ["a"]}, r"feature_names: expected 2, got 1"),
    ],
)
def test_what_cannot_be_drawn_is_told(options, expected):
    with pytest.raises((ValueError, TypeError), match=expected):
        plot_attribution(**options)
