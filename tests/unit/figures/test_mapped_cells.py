"""Which attributions a picture of maps shows."""

from approxgrad.figures.maps import mapped_cells
from approxgrad.gradients.source import exact_source
from small_studies import difference, entry, study

PLACE = ("synthetic_linear", "mlp")


def test_maps_show_the_setting_nearest_on_a_logarithmic_scale():
    # On a linear scale 0.35 would be nearer to 0.1 than to 1.
    for wanted, shown in ((0.35, 1), (0.3, 0.1), (1e-9, 0.1), (50, 1)):
        own = study(entry(difference(steps=[1, 0.1])), map_setting=wanted)
        ((_, cell, exact),) = mapped_cells(own, *PLACE)
        assert cell.gradient.setting == shown
        assert exact.gradient == exact_source()


def test_maps_show_the_lowest_precision_and_a_chosen_step_only_where_there_is_no_other():
    names = []
    for steps in (["auto", 50], ["auto"]):
        for dtypes in (["float64", "float32"], ["float64"]):
            ((_, cell, exact),) = mapped_cells(study(entry(difference(steps=steps, dtypes=dtypes))), *PLACE)
            assert exact.gradient == exact_source(cell.gradient.dtype)
            names.append(cell.gradient.name)
    assert names == ["forward-h50", "forward-h50-float64", "forward-auto", "forward-auto-float64"]


def test_maps_show_one_column_per_kind_without_the_published_variant():
    methods = ["integrated_gradients_published", "integrated_gradients_mean", "integrated_gradients", "saliency"]
    columns = mapped_cells(study(entry(methods=methods)), *PLACE)
    assert [method for method, _, _ in columns] == ["saliency", "integrated_gradients_mean"]
    assert mapped_cells(study(entry()), "digits", "cnn") == []
