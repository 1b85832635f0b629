"""The page on extending shows files that run as they are, and what it says of them is true."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml

from running import REPOSITORY, Place

PAGE = REPOSITORY / "docs" / "extending.md"
FILE = r"<!-- ([\w.]+) -->\n(?:<!-- [^\n]* -->\n\n)?```\w+\n(.*?)```"
SIZES = {"random_directions-n17": 17, "random_directions-n65": 65, "central-h0.001": 24}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run of the study on the page, in a folder of its own."""
    folder = tmp_path_factory.mktemp("extending")
    for name, text in re.findall(FILE, PAGE.read_text(), re.DOTALL):
        (folder / name).write_text(text)
    place = Place(folder, overlays=(folder / "study.yaml",))
    outcome = place.run()
    assert outcome.code == 0, outcome.text
    return place


def table(place, folder):
    return pd.read_parquet(place.directory / "results" / folder)


def test_options_arrive_and_every_attribution_says_what_it_cost(place):
    maps = table(place, "attributions")
    own = maps.groupby(["method", "gradient"], observed=True)["evaluations"].first()
    for gradient, size in SIZES.items():
        assert own["saliency", gradient] == size
        assert own["smooth", gradient] == 3 * size
    assert set(maps["setting_name"]) == {"evaluations", "step"}
    assert sorted(set(maps.loc[maps["family"] == "random_directions", "setting"])) == [17, 65]


def test_the_numbers_are_those_of_the_formula(place):
    maps = table(place, "attributions").set_index(["method", "gradient"]).sort_index()
    rows = maps.loc[("saliency", "central-h0.001")]
    inputs, found = (np.stack(rows[name]) for name in ("input", "attribution"))
    exact = np.abs(2 * np.cos(2 * inputs.astype(float)) * np.arange(1, 13) / 12)
    # A difference of float32 outputs of about 6, over twice the step.
    np.testing.assert_allclose(found, exact, atol=6 * np.finfo(np.float32).eps * 12 / 0.002)
    smooth = np.stack(maps.loc[("smooth", "central-h0.001")]["attribution"])
    assert smooth.min() < 0
    assert np.corrcoef(np.abs(smooth).ravel(), found.ravel())[0, 1] > 0.5


def test_sources_are_compared_with_the_reference_by_the_metric_of_the_extension(place):
    metrics = table(place, "metrics")
    compared = metrics[metrics["reference"] == "central-h0.001"]
    assert set(compared["gradient"]) == {"random_directions-n17", "random_directions-n65"}
    assert (compared["largest_difference"] > 0).all()
    assert "largest_difference" in set(pd.read_csv(place.directory / "results" / "summary" / "summary.csv")["metric"])
    medians = compared[compared["method"] == "saliency"].groupby("gradient", observed=True)["relative_error"].median()
    assert medians["random_directions-n65"] < medians["random_directions-n17"]


def test_the_plan_announces_the_evaluations(place):
    text = place.run("plan", "--forceall").text
    assert f"{8 * 3 * (17 + 65 + 24):,}" in text


def test_the_figure_is_drawn_and_others_name_the_setting(place):
    figures = place.directory / "results" / "figures" / "dataset=synthetic_linear" / "model=formula"
    assert "model evaluations for one gradient" in (figures / "method=smooth" / "boxplots.svg").read_text()
    numbers = pd.read_csv(figures / "cost.csv")
    assert sorted(numbers["evaluations"]) == sorted([17, 65, 3 * 17, 3 * 65])
    assert "evaluations per sample" in (figures / "cost.svg").read_text()


def test_a_change_of_the_extension_runs_what_it_describes_and_nothing_is_left_to_do_before(place):
    assert not place.plan().jobs
    path = place.directory / "my_extensions.py"
    text = path.read_text()
    path.write_text(text.replace("total / self.samples", "total / self.samples + 0"))
    try:
        jobs = place.plan().jobs
    finally:
        path.write_text(text)
    assert jobs["attribute"] == 3
    assert "train_model" not in jobs


def test_options_out_of_bounds_are_one_line(place):
    study = yaml.safe_load((place.directory / "study.yaml").read_text())
    study["methods"]["smooth"]["samples"] = 0
    overlay = place.overlay(study, "wrong.yaml")
    outcome = place.run("-n", overlays=[overlay])
    assert outcome.code == 1
    assert "methods.smooth.samples: got 0, expected at least 1" in outcome.text
