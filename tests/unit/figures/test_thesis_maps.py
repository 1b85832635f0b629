"""The picture of maps in the form of the thesis."""

import numpy as np
import pytest

from approxgrad.figures.figure import FIGURES
from approxgrad.figures.maps import colour_limit
from approxgrad.figures.thesis_maps import largest, shown_cells, thesis_maps
from figure_data import METHODS, attributions, drawn_text, exact, parameters
from small_studies import difference, entry, study

LOOKS = parameters(methods=METHODS)
THREE = ("saliency", "input_x_gradient", "integrated_gradients_published")


def columns(samples=(31, 42)):
    return [
        (method, attributions(samples, seed=number), exact(samples, seed=10 + number))
        for number, method in enumerate(THREE)
    ]


def maps_of(seed, sample):
    return np.random.default_rng([seed, sample]).normal(size=(3, 2, 2)).astype(np.float32)


def test_rows_are_the_image_and_the_largest_absolute_channel_of_both_maps():
    figure = thesis_maps(columns(), LOOKS)
    panels = np.reshape(np.array([axes for axes in figure.axes if axes.images and axes.get_xticks().size == 0]), (3, 3))
    for column in range(3):
        for row, seed in ((1, column), (2, 10 + column)):
            drawn = np.asarray(panels[row, column].images[0].get_array())
            np.testing.assert_array_equal(drawn, np.abs(maps_of(seed, 31)).max(axis=0))
    maps = [largest(maps_of(seed, 31)) for column in range(3) for seed in (column, 10 + column)]
    limit, _ = colour_limit(maps)
    assert {axes.images[0].get_clim() for axes in panels[1:].flat} == {(0, limit)}
    assert {axes.images[0].get_cmap().name for axes in panels[1:].flat} == {"hot"}
    text = drawn_text(figure)
    assert "sample 31" in text
    assert "sample 42" not in text
    assert "h = 0.1" in text


def test_largest_ignores_signs_and_takes_grey_images():
    assert largest(np.array([[[-3.0]], [[2.0]], [[1.0]]])).tolist() == [[3.0]]
    assert largest(np.array([[[-3.0]]])).tolist() == [[3.0]]


@pytest.fixture
def images():
    def made(**changes):
        methods = ["integrated_gradients", "integrated_gradients_published", "input_x_gradient", "saliency"]
        gradients = [difference(steps=[0.01, 0.1, 1, "auto"])]
        return study(entry(*gradients, datasets=["digits"], models=["cnn"], methods=methods), **changes)

    return made


def test_the_picture_is_drawn_where_it_is_asked_for(images):
    assert FIGURES["thesis_maps"]().files(images()) == []
    own = images(thesis_maps=True)
    figure = FIGURES["thesis_maps"]()
    assert figure.targets(own) == [("digits", "cnn")]
    cells = shown_cells(own, "digits", "cnn")
    assert [method for method, _, _ in cells] == list(THREE)
    assert {cell.gradient.setting for _, cell, _ in cells} == {0.1}
    # The published variant is compared with the exact map of the correct one.
    assert [cell.method for _, _, cell in cells] == ["saliency", "input_x_gradient", "integrated_gradients"]
    assert len(figure.inputs(own, {"dataset": "digits", "model": "cnn"})["exact"]) == 3


def test_tables_and_sources_without_steps_have_no_such_picture():
    tables = study(entry(difference()), thesis_maps=True)
    assert FIGURES["thesis_maps"]().targets(tables) == []
    budget = {"directions": "cosine", "budgets": [20]}
    own = study(entry(budget, datasets=["digits"], models=["cnn"]), thesis_maps=True)
    assert FIGURES["thesis_maps"]().targets(own) == []
