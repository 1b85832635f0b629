"""The error of a difference, split into rounding and truncation by a source without rounding."""

import math

import numpy as np
import pandas as pd
import pytest

from approxgrad.evaluation.splitting import parts_table, read_parts, ruled
from approxgrad.figures.anatomy import Anatomy, anatomy
from approxgrad.gradients.difference import Difference
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import write_table
from approxgrad.study.split_cells import split_cells, split_models
from figure_data import described, parameters
from small_studies import difference, entry, key, study

STEPS = (0.001, 0.1, 10.0)


def written(path, maps, family, setting=None, samples=(7, 8)):
    maps = np.array(maps, np.float32)
    metadata = described("forward", setting) | {"family": family, "setting": setting}
    write_attributions(path, Attributions(np.array(samples), maps, np.zeros_like(maps), None, None, metadata))
    return path


def files(folder):
    """Rounding of 1 / (10 h) and truncation of h, relative to exact maps of norm 5 and 10."""
    exact = np.array([[3.0, 4.0], [6.0, -8.0]])
    size = np.array([[5.0], [10.0]])
    found = {"rounded": [], "unrounded": [], "exact": []}
    for step in STEPS:
        unrounded = exact + size * [step, 0]
        rounded = unrounded + size * [0, 0.1 / step]
        found["rounded"].append(written(folder / f"r{step}.parquet", rounded, "forward", step))
        # In another order of the samples.
        found["unrounded"].append(
            written(folder / f"u{step}.parquet", unrounded[::-1], "forward_propagated", step, (8, 7))
        )
        found["exact"].append(written(folder / "exact.parquet", exact, "exact"))
    return found


def test_the_parts_are_the_differences_relative_to_the_exact_attribution(tmp_path):
    table = parts_table(files(tmp_path), {"methods": ["saliency"] * 3}).to_pandas()
    assert set(table["unrounded"]) == {"forward_propagated"}
    for part, expected in (("rounding", [100, 1, 0.01]), ("truncation", STEPS)):
        own = table[table["part"] == part]
        assert own["setting"].tolist() == list(STEPS)
        assert own["n"].tolist() == [2, 2, 2]
        np.testing.assert_allclose(own["error"], expected, rtol=1e-3)
    assert ruled(table) == (0.1, 10.0)
    assert ruled(table[table["setting"] < 1])[0] == 0.1
    assert math.isnan(ruled(table[table["setting"] < 1])[1])
    last, first = ruled(table[table["setting"] > 1])
    assert (math.isnan(last), first) == (True, 10.0)


def test_a_missing_sample_is_named(tmp_path):
    own = files(tmp_path)
    own["unrounded"][0] = written(tmp_path / "short.parquet", [[1, 2]], "forward_propagated", STEPS[0], (7,))
    with pytest.raises(TableError, match=r"short.parquet: lacks sample 8"):
        parts_table(own, {"methods": ["saliency"] * 3})


def test_the_anatomy_shows_what_is_measured_and_fits_nothing_to_it(tmp_path):
    table = parts_table(files(tmp_path), {"methods": ["saliency"] * 3})
    write_table(tmp_path / "parts.parquet", table, {})
    parts = read_parts([tmp_path / "parts.parquet"], [("digits", "cnn")])
    names = {"dataset": "digits", "model": "cnn", "method": "saliency", "setting_name": "step", "dtype": "float32"}
    curves = []
    for family, errors in (("forward", [100, 1.1, 10]), ("forward_propagated", STEPS)):
        rows = {"family": family, "setting": STEPS, "error": errors, "lower_quartile": errors, "upper_quartile": errors}
        curves.append(pd.DataFrame(rows).assign(**names, chosen=False, n=2))
    params = parameters(methods={"saliency": "Saliency"})
    params["families"]["forward_propagated"] = params["families"]["forward"] | {"label": "propagated", "colour": "red"}
    figure = anatomy(pd.concat(curves), params, parts)
    figure.draw_without_rendering()
    (axes,) = [own for own in figure.findobj(type(figure.add_subplot())) if own.lines]
    texts = [text.get_text() for text in axes.texts]
    assert texts == [
        "forward float32, truncation: h ≥ 10",
        "forward float32, rounding: h ≤ 0.1",
        "exponents, or what rules:",
    ]
    (measured,) = [line for line in axes.lines if line.get_label() == "rounding of forward differences, measured"]
    np.testing.assert_allclose(measured.get_ydata(), [100, 1, 0.01], rtol=1e-3)


def test_which_cells_split_an_error():
    steps = [0.1, 1.0]
    own = study(
        entry(difference("forward", [*steps, "auto"]), difference("forward", steps) | {"evaluation": "propagated"}),
        entry(difference("central", steps), models=["mlp"], methods=["input_x_gradient"]),
    )
    found = split_cells(own, "synthetic_linear", "mlp")
    assert [tuple(key(cell)[3] for cell in cells) for cells in found] == [
        ("forward-h0.1", "forward_propagated-h0.1", "exact"),
        ("forward-h1", "forward_propagated-h1", "exact"),
    ]
    assert split_models(own) == [("synthetic_linear", "mlp")]
    (parts,) = Anatomy().inputs(own, {"dataset": "synthetic_linear", "model": "mlp"})["parts"]
    assert parts == "results/error_parts/dataset=synthetic_linear/model=mlp/part-0.parquet"
    assert Difference("forward", (0.1,)).unrounded == Difference("forward", (0.1,), evaluation="propagated")
    assert Difference("forward", (0.1,), evaluation="propagated").unrounded is None
    assert Difference("forward", ("auto",)).unrounded is None
