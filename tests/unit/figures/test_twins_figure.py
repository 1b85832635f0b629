"""The figure of the models that share a twin."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures.twins import Twins, twin_curves
from figure_data import parameters
from small_studies import DEFAULT, difference, entry, study

STEPS = 10.0 ** np.arange(-3, 1)
TITLES = {"net": ["net", "MLP"], "few bits": ["few bits", "net exported as int8-static"]}
KEYS = {"dataset": "synthetic_linear", "model": "mlp", "method": "saliency"}


def curve(model, family="central", error=0.1, chosen=False, steps=STEPS):
    errors = error * np.ones(len(steps))
    source = {"family": family, "dtype": "float32", "setting_name": "step", "chosen": chosen, "setting": steps}
    rows = {"dataset": "digits", "model": model, "method": "saliency", **source, "n": 9}
    return pd.DataFrame(rows | {"error": errors, "lower_quartile": errors / 2, "upper_quartile": errors * 2})


def drawn(figure):
    figure.draw_without_rendering()
    return [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_visible()]


def test_every_model_has_a_panel_with_its_curves_and_chosen_steps():
    parts = [
        *(
            curve(model, family, error)
            for model, error in (("net", 0.1), ("few bits", 0.4))
            for family in ("central", "forward")
        ),
        curve("few bits", chosen=True, steps=np.array([0.7])),
    ]
    panels = drawn(twin_curves(pd.concat(parts), parameters(models=TITLES)))
    assert [axes.get_title() for axes in panels] == ["net\nMLP\nn = 9", "few bits\nnet exported as int8-static\nn = 9"]
    for axes, error in zip(panels, (0.1, 0.4), strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        lines = [line for line in axes.lines if len(line.get_xdata()) == len(STEPS)]
        assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 2
        assert all((line.get_ydata() == error).all() for line in lines)
        # A map of zeros.
        (zeros,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert set(zeros.get_ydata()) == {1}
    marks = [[line for line in axes.lines if line.get_marker() == "D"] for axes in panels]
    assert [len(own) for own in marks] == [0, 1]
    np.testing.assert_array_equal(marks[1][0].get_xydata(), [[0.7, 0.1]])


def test_a_model_without_rows_is_refused():
    with pytest.raises(ValueError, match="no rows of the model few bits"):
        twin_curves(curve("net"), parameters(models=TITLES))


def test_it_is_there_where_several_models_share_a_twin():
    models = DEFAULT["models"] | {name: {"exported": {"of": "mlp", "as": name}} for name in ("onnx", "bfloat16")}
    figure = Twins()
    assert figure.targets(study(entry(models=["onnx", "mlp"]), models=models)) == []
    both = study(entry(difference(steps=[0.1, "auto"]), models=["mlp", "onnx", "bfloat16"]), models=models)
    assert figure.targets(both) == [tuple(KEYS.values())]
    names = ["mlp", "onnx", "bfloat16"]
    assert [path.split("model=")[1].split("/")[0] for path in figure.inputs(both, KEYS)["metrics"]] == names
    params = figure.params(both, KEYS)
    assert params["models"]["bfloat16"] == ["bfloat16", "mlp exported as bfloat16"]
    assert params["steps"] == ["forward"]
