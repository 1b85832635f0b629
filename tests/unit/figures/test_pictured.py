"""Which attributions a picture of maps or of features shows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.figures.features import Features
from approxgrad.figures.pictured import pictured, shown_files, source_words
from approxgrad.gradients.source import exact_source
from approxgrad.storage.tables import write_table
from figure_data import described, families
from small_studies import difference, entry, study

PLACE = ("synthetic_linear", "mlp")
KEYS = dict(zip(("dataset", "model"), PLACE, strict=True))


def shown(own, *place):
    return [(column.method, [cell.gradient.name for cell in column.candidates]) for column in pictured(own, *place)]


def test_a_number_shows_the_setting_nearest_on_a_logarithmic_scale():
    # On a linear scale 0.35 would be nearer to 0.1 than to 1.
    for wanted, name in ((0.35, "forward-h1"), (0.3, "forward-h0.1"), (1e-9, "forward-h0.1"), (50, "forward-h1")):
        own = study(entry(difference(steps=[1, 0.1])), map_setting=wanted)
        assert shown(own, *PLACE) == [("saliency", [name])]
        assert pictured(own, *PLACE)[0].exact.gradient == exact_source()


def test_a_number_shows_the_lowest_precision_and_a_chosen_step_only_where_there_is_no_other():
    names = []
    for steps in (["auto", 50], ["auto"]):
        for dtypes in (["float64", "float32"], ["float64"]):
            own = study(entry(difference(steps=steps, dtypes=dtypes)), map_setting=0.1)
            ((_, (name,)),) = shown(own, *PLACE)
            names.append(name)
            (column,) = pictured(own, *PLACE)
            assert column.exact.gradient == exact_source(column.candidates[0].gradient.dtype)
    assert names == ["forward-h50", "forward-h50-float64", "forward-auto", "forward-auto-float64"]


def test_the_recommended_step_is_the_chosen_one_or_one_of_all():
    both = study(entry(difference(steps=["auto", 50, 1], dtypes=["float64", "float32"])))
    assert shown(both, *PLACE) == [("saliency", ["forward-auto"])]
    fixed = study(entry(difference(steps=[50, 1], dtypes=["float64", "float32"]), difference("central", steps=[2])))
    assert shown(fixed, *PLACE) == [("saliency", ["central-h2", "forward-h1", "forward-h50"])]


def test_pictures_show_one_column_per_kind_without_the_published_variant():
    methods = ["integrated_gradients_published", "integrated_gradients_mean", "integrated_gradients", "saliency"]
    columns = pictured(study(entry(methods=methods)), *PLACE)
    assert [column.method for column in columns] == ["saliency", "integrated_gradients_mean"]
    assert pictured(study(entry()), "digits", "cnn") == []


def metric_file(folder, medians):
    """Write a metric table with these errors of forward steps, and a truth that says the opposite."""
    rows = pd.DataFrame(
        [
            {**described("forward", step), "reference": reference, "sample": sample, "relative_error": value}
            for step, error in medians.items()
            for reference, value in (("exact", error), ("truth", 1 - error))
            for sample in range(3)
        ]
    )
    write_table(folder / "metrics.parquet", pa.Table.from_pandas(rows, preserve_index=False), {})
    return str(folder / "metrics.parquet")


UNDEFINED = dict.fromkeys([0.1, 1.0, 9.0], np.nan)


@pytest.mark.parametrize(
    ("medians", "best"),
    [({0.1: 0.2, 1.0: 0.1, 9.0: 0.3}, 1), (UNDEFINED | {0.1: 0.2, 9.0: 0.1}, 2), (UNDEFINED, 0)],
)
def test_of_several_steps_that_of_the_smallest_median_error_is_shown(tmp_path, medians, best):
    own = study(entry(difference(steps=[1, 0.1, 9])))
    inputs, params = Features().inputs(own, KEYS), Features().params(own, KEYS)
    assert params["columns"] == [["saliency", ["forward-h0.1", "forward-h1", "forward-h9"]]]
    assert len(inputs["metrics"]) == 1
    ((method, approximated, exact),) = shown_files(inputs | {"metrics": metric_file(tmp_path, medians)}, params, KEYS)
    assert (method, approximated, exact) == ("saliency", inputs["approximated"][best], inputs["exact"][0])


def test_a_chosen_step_is_named_as_such():
    looks = families()
    assert source_words(described("forward", 0.1), looks) == "forward differences, h = 0.1"
    chosen = source_words(described("forward", "auto", used=0.0123456), looks)
    assert chosen == "forward differences, h = 0.012 chosen at run time"
    assert source_words(described("exact"), looks) == looks["exact"]["label"]
