from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from approxgrad.evaluation.metrics import compare
from approxgrad.figures import style
from approxgrad.figures.maps import attribution_maps, colour_limit, difference_factor
from approxgrad.figures.triples import SAMPLES, map_numbers, map_triples
from figure_data import IMAGES, METHODS, assert_all_inside, attributions, drawn_text, exact, parameters

LOOKS = parameters(methods=METHODS)
GREY = {"shape": (1, 2, 2), "normalisation": {"mean": [0.25], "std": [0.5]}}


def panels(figure):
    """The pictures of a figure: a row for each sample, the input and three maps for each method."""
    pictures = [axes for axes in figure.axes if axes.images]
    samples = sum(axes.get_ylabel().startswith("sample") for axes in pictures)
    return np.reshape(np.array(pictures, object), (samples, -1))


def pixels(panel):
    return np.asarray(panel.images[0].get_array())


def bars(figure):
    return [axes for axes in figure.axes if not axes.images]


def maps_of(seed, sample, shape=(3, 2, 2)):
    return np.random.default_rng([seed, sample]).normal(size=shape).astype(np.float32)


def test_samples_are_found_by_their_number_in_every_file():
    columns = [
        ("input_x_gradient", attributions([31, 42, 53], seed=1), exact([53, 42, 31, 64], seed=2)),
        ("integrated_gradients", attributions([42, 31], seed=3), exact([90, 31, 42], seed=4)),
    ]
    figure = attribution_maps(columns, LOOKS)
    drawn = panels(figure)
    assert drawn.shape == (2, 7)
    for sample, row in zip([31, 42], drawn, strict=True):
        for (approximated, reference), triple in zip([(1, 2), (3, 4)], [row[1:4], row[4:]], strict=True):
            # The sum over the channels, in float64 as it is drawn.
            expected = [maps_of(seed, sample).astype(float).sum(axis=0) for seed in (reference, approximated)]
            np.testing.assert_array_equal(pixels(triple[0]), expected[0])
            np.testing.assert_array_equal(pixels(triple[1]), expected[1])
            # Differences and sums of 3 float32 numbers below 4, in float64.
            factor = float(triple[2].texts[0].get_text().removeprefix("× "))
            difference = factor * (expected[1] - expected[0])
            np.testing.assert_allclose(pixels(triple[2]), difference, rtol=0, atol=24 * 2.3e-16)
    assert [row[0].get_ylabel() for row in drawn] == ["sample 31\ntarget 1", "sample 42\ntarget 2"]
    text = drawn_text(figure)
    assert "summed over the colour channels" in text
    assert "approximated: forward differences, h = 0.1" in text


def test_the_first_common_samples_are_shown():
    columns = [("saliency", attributions(range(10, 20)), exact([19, *range(11, 19)]))]
    assert [triples[0].sample for triples in map_triples(columns)] == [11, 12, 13]
    assert len(panels(attribution_maps(columns, LOOKS))) == SAMPLES == 3


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_a_difference_is_drawn_on_the_scale_of_its_maps_with_its_factor_printed(method):
    approximated, reference = attributions([5, 6], method=method, **GREY), exact([5, 6], method=method, **GREY)
    approximated.attribution[:] = [[1, 2, 0, 3.01], [10, 20, 0, 70]]
    reference.attribution[:] = [[1, 2, 0, 3], [10, 20, 0, 30]]
    figure = attribution_maps([(method, approximated, reference)], LOOKS)
    limits = [np.quantile([1, 2, 0, 3.01, 1, 2, 0, 3], 0.99), np.quantile([10, 20, 0, 70, 10, 20, 0, 30], 0.99)]
    for row, limit, factor, words in zip(panels(figure), limits, (100, 1), ("× 100", "× 1"), strict=True):
        for panel in row[1:]:
            assert panel.images[0].get_clim() == pytest.approx((-limit, limit))
            assert panel.images[0].get_cmap().name == "RdBu_r"
        np.testing.assert_allclose(pixels(row[3]), factor * (pixels(row[2]) - pixels(row[1])), rtol=1e-12)
        assert [text.get_text() for text in row[3].texts] == [words]
    assert "multiplied by the factor in its corner" in drawn_text(figure)
    assert len(bars(figure)) == 2


@pytest.mark.parametrize(
    ("difference", "factor"),
    [([0, 0], 1), ([0, 1], 1), ([0, 0.99], 1), ([0, 0.02], 10), ([1e-7, 0], 1e7), ([30, 0], 0.01)],
)
def test_the_factor_is_the_largest_power_of_ten_that_has_room(difference, factor):
    assert difference_factor(np.array(difference, float), 1.0) == factor


def test_a_colour_scale_is_robust_and_never_empty():
    one = np.ones(1000)
    one[0] = 1e6
    assert colour_limit([one]) == (1.0, True)
    assert colour_limit([np.array([-3.0, 1.0]), np.array([0.0, 3.0])]) == (3.0, False)
    assert colour_limit([np.zeros(4)]) == (1.0, False)
    sparse = np.zeros(1000)
    sparse[7] = -5
    assert colour_limit([sparse]) == (5.0, False)


def test_bars_say_where_they_end():
    approximated = attributions([5], **GREY)
    approximated.attribution[0] = [-2, 1, 0, 2]
    reference = exact([5], **GREY)
    reference.attribution[0] = [-2, 1, 0, 1.5]
    (bar,) = bars(attribution_maps([("integrated_gradients", approximated, reference)], LOOKS))
    assert [text.get_text() for text in bar.get_xticklabels()] == ["−2", "0", "2"]


def test_small_print_gives_the_measures_of_the_tables():
    approximated, reference = attributions([5]), exact([5], seed=1)
    measures = compare(approximated.attribution, reference.attribution)
    (row,) = panels(attribution_maps([("integrated_gradients", approximated, reference)], LOOKS))
    assert row[2].get_xlabel() == f"r = {measures['pearson'][0]:.3f}"
    error = 100 * measures["relative_error"][0]
    assert row[3].get_xlabel() == f"error {error:.0f} %"


def test_a_correlation_near_1_says_what_it_lacks():
    reference = exact([5], **GREY)
    reference.attribution[0] = [-1, 0, 0, 1]
    approximated = attributions([5], **GREY)
    approximated.attribution[0] = [-1, 0.02, -0.02, 1]
    (row,) = panels(attribution_maps([("integrated_gradients", approximated, reference)], LOOKS))
    # 1 - 1 / sqrt(1 + 0.0004)
    assert row[2].get_xlabel() == "1 − r = 0.0002"


def test_maps_without_a_correlation_can_be_drawn():
    approximated, reference = attributions([5]), exact([5])
    reference.attribution[:] = 0
    (row,) = panels(attribution_maps([("integrated_gradients", approximated, reference)], LOOKS))
    assert row[2].get_xlabel() == "r undefined"
    assert row[3].get_xlabel() == "error undefined"


def test_numbers_are_one_row_for_each_pixel_and_channel(tmp_path):
    approximated, reference = attributions([5, 6], seed=1), exact([6, 5], seed=2)
    numbers = map_numbers([("integrated_gradients", approximated, reference)], IMAGES)
    assert len(numbers) == 2 * 12
    row = numbers[
        (numbers["sample"] == 6) & (numbers["channel"] == 2) & (numbers["row"] == 0) & (numbers["column"] == 1)
    ]
    assert row["exact"].item() == maps_of(2, 6)[2, 0, 1]
    assert row["approximated"].item() == maps_of(1, 6)[2, 0, 1]
    assert row["difference"].item() == float(maps_of(1, 6)[2, 0, 1]) - float(maps_of(2, 6)[2, 0, 1])
    assert row["input"].item() == maps_of(77, 6)[2, 0, 1]
    style.save_numbers(numbers, tmp_path / "maps.csv")
    read = pd.read_csv(tmp_path / "maps.csv", dtype=str)
    for name in ("input", "exact", "approximated", "difference"):
        np.testing.assert_array_equal(read[name].to_numpy(numbers[name].dtype), numbers[name])
    assert read[
        ["dataset", "model", "method", "family", "setting", "setting_name"]
    ].drop_duplicates().to_numpy().tolist() == [["digits", "cnn", "integrated_gradients", "forward", "0.1", "step"]]


def test_colour_image_is_shown_in_its_own_units():
    approximated = attributions([5])
    approximated.inputs[0] = [0, 1, 9, -9] * 3
    expected = [[[0.5, 0.4, 0.3], [0.7, 0.65, 0.8]], [[1, 1, 1], [0, 0, 0]]]
    drawn = panels(attribution_maps([("saliency", approximated, exact([5]))], LOOKS))
    np.testing.assert_allclose(pixels(drawn[0, 0]), expected, rtol=1e-6)


def test_image_of_one_channel_is_grey():
    approximated = attributions([5], **GREY)
    approximated.inputs[0] = [-2, 0, 0.5, 9]
    figure = attribution_maps([("saliency", approximated, exact([5], **GREY))], LOOKS)
    panel = panels(figure)[0, 0]
    np.testing.assert_allclose(pixels(panel), [[0, 0.25], [0.5, 1]])
    assert panel.images[0].get_cmap().name == "gray"
    assert panel.images[0].get_clim() == (0, 1)
    assert "colour channels" not in drawn_text(figure)


def test_one_normalisation_serves_all_channels():
    approximated = attributions([5], normalisation={"mean": [0.5], "std": [0.25]})
    approximated.inputs[0] = 1
    drawn = panels(attribution_maps([("saliency", approximated, exact([5]))], LOOKS))
    np.testing.assert_allclose(pixels(drawn[0, 0]), np.full((2, 2, 3), 0.75))


def test_a_source_that_stands_in_for_exact_gradients_is_not_called_exact():
    columns = [("saliency", attributions([5]), attributions([5], "central", 0.001, seed=1))]
    text = drawn_text(attribution_maps(columns, LOOKS))
    assert "approximated: forward differences, h = 0.1; reference: central differences, h = 0.001" in text
    assert "exact" not in text.lower()


def test_sources_that_differ_stand_above_their_method():
    columns = [
        ("saliency", attributions([5], "central", 0.01), exact([5])),
        ("input_x_gradient", attributions([5], "directions", 64.0), exact([5])),
    ]
    text = drawn_text(attribution_maps(columns, LOOKS))
    assert "Saliency central differences, h = 0.01" in text
    assert "Gradient × Input directions, n = 64" in text


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 8, 16), (1, 16, 8)])
@pytest.mark.parametrize("methods", [1, 3])
def test_nothing_is_drawn_outside_the_figure_or_over_another_part(shape, methods):
    labels = METHODS | {"mean": "Integrated Gradients (mean baseline)", "x": "X"}
    named = parameters("synthetic nonlinear", "ResNet-18", methods=labels)
    columns = [
        (name, attributions([5, 6], setting=setting, shape=shape), exact([5, 6], shape=shape, seed=1))
        for name, setting in [("mean", 0.0001), ("saliency", 0.1), ("x", 0.5)][:methods]
    ]
    figure = attribution_maps(columns, named)
    assert_all_inside(figure)
    renderer = figure._get_renderer()
    assert figure.get_figwidth() <= (3.5 if methods == 1 else 7.2)
    # Its title, its note and the names of the methods.
    texts = [text.get_window_extent(renderer) for text in figure.texts]
    assert len(texts) == 2 + methods
    assert not any(axes.get_tightbbox(renderer).overlaps(text) for axes in figure.axes for text in texts)
    assert not any(first.overlaps(second) for first, second in combinations(texts, 2))


def test_without_title_and_note_the_picture_is_lower(tmp_path):
    columns = [("saliency", attributions([5]), exact([5]))]
    sizes = []
    for shown in (True, False):
        figure = attribution_maps(columns, LOOKS)
        style.save(figure, tmp_path / "a.png", tmp_path / "a.svg", titles=shown, notes=shown)
        sizes.append(Image.open(tmp_path / "a.png").size)
        assert ("data set: digits" in (tmp_path / "a.svg").read_text()) == shown
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] < sizes[0][1] - 100


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 2, 3)])
def test_inputs_that_are_no_images_are_refused(shape):
    columns = [("saliency", attributions([5], shape=shape), exact([5], shape=shape))]
    with pytest.raises(ValueError, match=r"feature_shape: got \[.*\], expected an image of 1 or 3 channels"):
        attribution_maps(columns, LOOKS)


def test_a_column_and_a_common_sample_are_needed():
    with pytest.raises(ValueError, match="columns: expected at least one method"):
        attribution_maps([], LOOKS)
    with pytest.raises(ValueError, match="columns: the attributions have no sample in common"):
        attribution_maps([("saliency", attributions([5]), exact([6]))], LOOKS)


def test_a_long_title_is_wrapped_and_has_room():
    columns = [("saliency", attributions([5]), attributions([5], "central", 0.001, seed=1))]
    short = attribution_maps(columns, LOOKS)
    long = attribution_maps(columns, LOOKS | {"labels": LOOKS["labels"] | {"model": "a model with a long name " * 4}})
    (title,) = [text for text in long.findobj(Text) if text.get_text().startswith("Attribution maps")]
    FigureCanvasAgg(long).draw()
    box = title.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= long.bbox.width
    assert box.y0 > max(axes.get_window_extent().y1 for axes in long.axes)
    assert long.get_figheight() > short.get_figheight()
