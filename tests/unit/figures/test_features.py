"""The bars of attributions of tables."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures import style
from approxgrad.figures.features import MOST_FEATURES, feature_bars, feature_column, feature_numbers
from figure_data import METHODS, assert_all_inside, attributions, drawn_text, exact, parameters

LOOKS = parameters("wine", "MLP", methods=METHODS, twin="")
KEYS = {"dataset": "wine", "model": "mlp"}
PLAIN = {"mean": [10.0], "std": [2.0]}


def table(make=attributions, samples=(4, 2, 9), values=None, features=3, **names):
    result = make(samples, shape=(features,), normalisation=PLAIN, seed=int(make is exact))
    if values is not None:
        result.attribution[:] = values
    result.metadata.update(names)
    return result


def bars(axes):
    """Return the lengths of the exact and of the approximated bars of a panel."""
    lengths = np.array([bar.get_width() for bar in axes.patches])
    return lengths[: len(lengths) // 2], lengths[len(lengths) // 2 :]


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


NAMED = {"feature_names": ["age", "city", "rooms"]}
VALUES = [[1, -4, 2], [3, 4, -2], [-5, 4, 2]]


def drawn(columns, params=LOOKS):
    figure = feature_bars(columns, params)
    panels = [axes for axes in figure.axes if axes.patches]
    return figure, np.reshape(np.array(panels, object), (2, len(columns)))


def test_bars_are_means_of_absolute_attributions_above_and_one_row_below():
    reference, own = table(exact, values=VALUES, **NAMED), table(values=np.add(VALUES, [1, 0, 0]), **NAMED)
    own.inputs[0] = reference.inputs[0] = [1, 0.5, -2]
    figure, ((means,), (row,)) = drawn([feature_column("saliency", reference, own)])
    assert labels(means) == ["city", "age", "rooms"]
    for lengths, expected in zip(bars(means), ([4, 3, 2], [4, 10 / 3, 2]), strict=True):
        np.testing.assert_allclose(lengths, expected)
    # In the units of the table.
    assert labels(row) == ["city = 11", "rooms = 6", "age = 12"]
    for lengths, expected in zip(bars(row), ([-4, 2, 1], [-4, 2, 2]), strict=True):
        np.testing.assert_allclose(lengths, expected)
    assert row.get_title(loc="left") == "test row 4, class 4"
    text = drawn_text(figure)
    assert "Saliency forward differences, h = 0.1 n = 3" in text
    assert "data set: wine, model: MLP approximated and exact" in text
    # The largest feature stands above.
    assert means.get_ylim()[0] > means.get_ylim()[1]


def test_samples_are_found_by_their_number():
    reference = table(exact, samples=(9, 4, 2), values=[VALUES[2], VALUES[0], VALUES[1]], **NAMED)
    own = table(values=VALUES, **NAMED)
    _, ((means,), (row,)) = drawn([feature_column("saliency", reference, own)])
    for panel in (means, row):
        exact_bars, approximated = bars(panel)
        np.testing.assert_array_equal(exact_bars, approximated)
    with pytest.raises(ValueError, match="the attributions have no sample in common"):
        feature_column("saliency", table(exact, samples=(1, 3, 5)), own)


def test_methods_share_the_order_of_the_features_whatever_their_scale():
    pairs = [([[1000, 3000, 0]], "saliency"), ([[0.6, 0.1, 0.3]], "input_x_gradient")]
    columns = [
        feature_column(name, table(exact, (5,), values, **NAMED), table(values=values, samples=(5,), **NAMED))
        for values, name in pairs
    ]
    figure, panels = drawn(columns)
    # Shares 1/4 + 0.6, 3/4 + 0.1 and 0 + 0.3: equal ones keep the order of the table.
    assert labels(panels[0, 0]) == ["age", "city", "rooms"]
    assert [axes.get_title().partition("\n")[0] for axes in panels[0]] == ["Saliency", "Gradient × Input"]
    assert panels[0, 0].get_ylim() == panels[0, 1].get_ylim()
    assert_all_inside(figure)


def test_exact_and_approximated_are_told_apart_without_colour():
    _, ((means,), _) = drawn([feature_column("saliency", table(exact), table())])
    looks = [(bool(bar.get_hatch()), bar.get_facecolor()) for bar in means.patches]
    assert (
        looks
        == [(True, matplotlib.colors.to_rgba(style.VERMILLION))] * 3
        + [(False, matplotlib.colors.to_rgba(style.BLUE))] * 3
    )
    assert [text.get_text() for text in means.get_legend().get_texts()] == ["exact", "approximated"]
    assert [bool(patch.get_hatch()) for patch in means.get_legend().findobj(matplotlib.patches.Rectangle)] == [
        True,
        False,
    ]


def test_of_many_features_the_largest_are_shown_and_all_are_in_the_numbers():
    count = MOST_FEATURES + 5
    sizes = np.arange(count)[None]
    column = feature_column("saliency", table(exact, (5,), sizes, count), table(attributions, (5,), sizes, count))
    figure, ((means,), _) = drawn([column])
    assert labels(means) == [f"feature {number}" for number in range(count, 5, -1)]
    assert "The 15 largest of 20 features." in drawn_text(figure)
    assert len(feature_numbers([column], KEYS)) == 2 * count
    assert "largest of" not in drawn_text(drawn([feature_column("saliency", table(exact), table())])[0])


def test_categories_are_one_feature_that_is_named_in_the_row():
    names = {"feature_names": ["age", "city=A", "city=B"], "feature_groups": ["age", "city", "city"]}
    reference = table(exact, (5,), [[1, 2, -5]], **names)
    reference.inputs[0] = [1, -5, -4.5]
    _, ((means,), (row,)) = drawn(
        [feature_column("saliency", reference, table(samples=(5,), values=[[1, 2, 2]], **names))]
    )
    assert labels(means) == ["city", "age"]
    assert [list(lengths) for lengths in bars(means)] == [[3, 1], [4, 1]]
    assert labels(row) == ["city = B", "age = 12"]


def test_numbers_are_a_row_for_each_method_part_and_feature(tmp_path):
    column = feature_column(
        "saliency", table(exact, values=VALUES, **NAMED), table(values=np.array(VALUES) * 2, **NAMED)
    )
    numbers = feature_numbers([column], KEYS)
    assert numbers[["part", "feature", "n", "sample"]].to_numpy(object).tolist() == [
        *(["mean size", name, 3, pd.NA] for name in NAMED["feature_names"]),
        *(["one row", name, 1, 4] for name in NAMED["feature_names"]),
    ]
    assert numbers["exact"].tolist() == [3, 4, 2, 1, -4, 2]
    assert numbers["approximated"].tolist() == [6, 8, 4, 2, -8, 4]
    style.save_numbers(numbers, tmp_path / "features.csv")
    assert pd.read_csv(tmp_path / "features.csv")["exact"].tolist() == [3, 4, 2, 1, -4, 2]


def test_a_source_that_stands_in_for_exact_gradients_is_not_called_exact():
    figure, _ = drawn(
        [feature_column("saliency", table(lambda *a, **o: attributions(*a, "central", 0.001, **o)), table())]
    )
    assert "exact" not in drawn_text(figure)
    assert "reference" in drawn_text(figure)


@pytest.mark.parametrize("features", [1, 2, 60])
def test_nothing_is_drawn_outside_the_figure(features):
    names = {"feature_names": [f"a feature with quite a long name, number {n}" for n in range(features)]}
    many = [
        feature_column(name, table(exact, features=features, **names), table(features=features, **names))
        for name in METHODS
    ]
    assert_all_inside(feature_bars(many, LOOKS))
    assert_all_inside(feature_bars(many[:1], LOOKS))
