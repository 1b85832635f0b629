"""What all figures share: looks, files, style and descriptions."""

import ast
import re
import subprocess
import sys
from itertools import product

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from approxgrad.figures import style
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.figure import FIGURES
from approxgrad.figures.learning_curves import learning_curves
from approxgrad.figures.truth import truth_violins
from approxgrad.provenance.dependencies import PACKAGE_ROOT
from figure_data import (
    STEPS,
    assert_all_inside,
    curve_table,
    drawn_text,
    families,
    metric_rows,
    metric_table,
    parameters,
)

LOOKS = parameters()
CURVES = (curve_table(), LOOKS["labels"])
SCRIPTS = PACKAGE_ROOT.parent / "scripts"


def test_violin_titles_name_the_method_of_the_exact_attribution():
    params = parameters(method="Integrated Gradients (published variant)", against="exact Integrated Gradients")
    text = drawn_text(truth_violins(metric_table("truth"), params)[0])
    assert "exact Integrated Gradients and forward differences" in text


def test_families_without_a_look_of_their_own_take_what_is_left():
    given = {"colour": style.BLUE, "marker": "o", "label": ""}
    families = {"forward": given} | {f"own{number}": {"colour": "", "marker": "", "label": ""} for number in range(5)}
    complete = style.complete_looks(families)
    assert complete["forward"] == given
    looks = [(own["colour"], own["marker"]) for own in complete.values()]
    assert len(set(looks[:5])) == 5
    assert all(colour and marker for colour, marker in looks)


def test_a_source_has_one_colour_in_all_figures_of_a_data_set():
    table = metric_table("truth", families=("forward", "central"))
    boxes = boxplots(table[table["family"] != "exact"].assign(reference="exact"), LOOKS)[0].axes[0].patches
    bodies = truth_violins(table, LOOKS)[0].axes[0].findobj(matplotlib.collections.PolyCollection)
    expected = [matplotlib.colors.to_rgb(colour) for colour in [style.BLUE, style.GREEN] * len(STEPS)]
    assert [box.get_facecolor()[:3] for box in boxes] == [pytest.approx(colour) for colour in expected]
    assert [tuple(body.get_facecolor()[0][:3]) for body in bodies[1:]] == [pytest.approx(c) for c in expected]
    assert tuple(bodies[0].get_facecolor()[0][:3]) == pytest.approx(matplotlib.colors.to_rgb(style.VERMILLION))


def test_families_are_told_apart_without_colour():
    axes = boxplots(metric_table(families=("forward", "central")), LOOKS)[0].axes[0]
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert markers == [families()[name]["marker"] for name in ("forward", "central")] * len(STEPS)
    assert len(set(markers)) == 2


def test_numbers_of_a_figure_are_those_that_it_draws_and_come_back_exactly(tmp_path):
    both = pd.concat([metric_table(), metric_table("truth")])
    boxes = boxplots(both, LOOKS)[1]
    assert len(boxes) == len(STEPS) * 50
    assert set(boxes["reference"]) == {"exact"}
    violins = truth_violins(both, LOOKS)[1]
    assert len(violins) == (len(STEPS) + 1) * 50
    assert set(violins["reference"]) == {"truth"}
    curves = learning_curves(curve_table("r2"), LOOKS["labels"])[1]
    assert curves.groupby(["metric", "split"])["epoch"].agg(list).map(len).to_dict() == {
        (metric, split): 5 for metric in ("loss", "r2") for split in ("train", "validation")
    }
    boxes.loc[3, "pearson"] = np.nan
    style.save_numbers(boxes, tmp_path / "a.csv")
    style.save_numbers(boxes, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    read = pd.read_csv(tmp_path / "a.csv", dtype=str)
    for name in ("setting", "pearson", "cosine", "mean_squared_error"):
        np.testing.assert_array_equal(read[name].astype(float), boxes[name])
    pd.testing.assert_frame_equal(read[["method", "gradient"]], boxes[["method", "gradient"]], check_dtype=False)


def test_nothing_is_drawn_outside_the_figure():
    table = metric_table("truth", families=("forward", "central"))
    table = pd.concat([table, table[table["family"] != "exact"].assign(reference="exact")])
    table.loc[::40, "pearson"] = np.nan
    named = parameters("synthetic nonlinear", "ResNet-18", "Integrated Gradients (published variant, mean baseline)")
    long_name = "A method " + "that a researcher gave a long name " * 3
    budgets = pd.concat([metric_rows("directions", count, "truth") for count in (8.0, 64.0)])
    figures = [
        boxplots(table, named)[0],
        boxplots(metric_table(), parameters(method=long_name))[0],
        truth_violins(table, named)[0],
        truth_violins(pd.concat([table, budgets]), named)[0],
        learning_curves(curve_table(epochs=180, best=130), LOOKS["labels"])[0],
    ]
    for figure in figures:
        assert_all_inside(figure)


def test_files_are_the_same_byte_for_byte(tmp_path):
    table = metric_table()
    contents = []
    for name in ["first", "second"]:
        figure = boxplots(table, LOOKS)[0]
        for repetition in range(2):
            paths = [tmp_path / f"{name}{repetition}.{ending}" for ending in ["svg", "png", "pdf"]]
            style.save(figure, *paths)
            contents.append(tuple(path.read_bytes() for path in paths))
    assert len(set(contents)) == 1
    svg, png, pdf = contents[0]
    assert pdf.startswith(b"%PDF")
    assert not re.search(rb"/(CreationDate|Creator|Producer)", pdf)
    # Text is text, which can be searched for and changed.
    assert b">1e-5</text>" in svg
    assert b"<svg" in svg
    assert matplotlib.__version__.encode() not in svg
    assert b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")
    assert b"Software" not in png
    assert int.from_bytes(png[16:20], "big") == round(figure.get_figwidth() * 200)
    assert len(list(tmp_path.iterdir())) == 12


@pytest.mark.parametrize(("function", "inputs"), [(boxplots, (metric_table(), LOOKS)), (learning_curves, CURVES)])
def test_titles_and_notes_can_be_left_out_and_panels_keep_their_size(tmp_path, function, inputs):
    texts, sizes = {}, {}
    for titles, notes in product([True, False], repeat=2):
        path = tmp_path / f"{titles}{notes}.svg"
        style.save(function(*inputs)[0], path, path.with_suffix(".png"), titles=titles, notes=notes)
        texts[titles, notes] = path.read_text()
        sizes[titles, notes] = np.array(Image.open(path.with_suffix(".png")).size)
    assert [("data set: digits" in text, "Box:" in text or "Best epoch:" in text) for text in texts.values()] == [
        *texts
    ]
    whole, *cut = sizes.values()
    assert all(size[0] == whole[0] and size[1] < whole[1] for size in cut)
    assert whole[1] - sizes[False, False][1] == pytest.approx(
        (whole[1] - sizes[True, False][1]) + (whole[1] - sizes[False, True][1]), abs=2
    )


def test_style_does_not_follow_or_change_the_users_settings():
    with matplotlib.rc_context({"font.size": 40, "axes.labelsize": 40, "axes.spines.top": True}):
        (axes,) = truth_violins(metric_table("truth"), LOOKS)[0].axes
        assert axes.yaxis.label.get_fontsize() == 7
        assert not axes.spines["top"].get_visible()
        assert matplotlib.rcParams["font.size"] == 40


def imported(code, names):
    code = f"import sys\n{code}\nprint([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_descriptions_of_figures_cost_snakemake_no_plotting_library():
    code = "from approxgrad.figures.figure import FIGURES\nassert [FIGURES[name]() for name in FIGURES]"
    assert imported(code, ["torch", "pandas", "pyarrow", "matplotlib", "scipy"]) == "[]"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_without_heavy_libraries(name):
    script = ast.parse((SCRIPTS / "plot.py").read_text())
    imports = [ast.unparse(node) for node in script.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    draw = f"try: FIGURES['{name}']().draw({{}}, {{}}, {{}})\nexcept KeyError: pass"
    heavy = ["torch", "captum", "sklearn", "snakemake", "matplotlib.pyplot", "tqdm", "jsonschema"]
    # Fits, intervals and tests of these are scipy's.
    allowed = ["scipy"] if name in ("anatomy", "budget", "faithfulness", "twins") else []
    found = imported("\n".join([*imports, draw]), [*heavy, "scipy"])
    assert found in ("[]", str(allowed))


def test_figures_have_captions_and_paths_of_their_own():
    figures = [FIGURES[name]() for name in FIGURES]
    assert all((SCRIPTS.parent / "rules" / figure.caption_path).is_file() for figure in figures)
    assert len({figure.path for figure in figures}) == len(figures)
    assert (
        FIGURES["truth"]().path == "results/figures/dataset={dataset}/model={model}/method={method}/truth_correlation"
    )
    assert FIGURES["published"]().path == "results/published/figures/source={source}/method={method}/boxplots"
