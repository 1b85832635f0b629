"""Chosen steps as jobs of their own: made once, counted, stored, and not compared between machines."""

import json
import re
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from approxgrad import read_provenance
from approxgrad.storage.step_tables import read_choice
from running import REPOSITORY, Place

pytestmark = pytest.mark.workflow

MODEL = "dataset=synthetic_linear, model=mlp"
LONG = 1400
"""Path points with which a block of central differences holds a single sample."""

CHOICES = {
    ("inputs", "forward-auto"): ["saliency", "input_x_gradient"],
    ("inputs", "forward-auto-float64"): ["saliency"],
    ("path-zero-4", "forward-auto"): ["integrated_gradients", "integrated_gradients_published"],
    (f"path-0.5-{LONG}", "central-auto"): ["long"],
}
"""Points and gradient of every choice, and the methods that take their step from it."""


def table(points, gradient):
    return f"results/steps/dataset=synthetic_linear/model=mlp/points={points}/gradient={gradient}/part-0.parquet"


def document(place, of, gradient, folder="attributions"):
    path = f"results/{folder}/dataset=synthetic_linear/model=mlp/{of}/gradient={gradient}/part-0.parquet"
    return json.loads(pq.read_schema(place.directory / path).metadata[b"approxgrad"])


def copied(place, folder):
    """A copy of a run and its checkout, which counts as up to date."""
    shutil.copytree(place.directory.parent, folder / "copy")
    checkout = folder / "copy" / "checkout"
    overlays = tuple(checkout / path.relative_to(place.repository) for path in place.overlays)
    return Place(folder / "copy" / "run", checkout, overlays)


def experiment(method, gradient):
    common = {"datasets": ["synthetic_linear"], "models": ["mlp"], "samples": 2}
    return common | {"methods": [method], "gradients": [gradient]}


@pytest.fixture(scope="module")
def chosen(tiny, tmp_path_factory):
    """The tiny study, to which chosen steps are added when it is finished; what that plans, and what `plan` says."""
    place = copied(tiny, tmp_path_factory.mktemp("chosen"))
    first, second, third = yaml.safe_load(tiny.overlays[0].read_text())["experiments"]
    overlay = place.overlay(
        {
            "methods": {"long": {"attribution": "integrated_gradients", "baseline": 0.5, "n_steps": LONG}},
            "gradients": {
                "precisions": {"steps": [0.5, 2, "auto"]},
                "chosen": {"difference": "forward", "steps": ["auto"]},
                "central": {"difference": "central", "steps": ["auto"]},
            },
            "shards": 2,
            "experiments": [
                first,
                second | {"gradients": ["tenth", "chosen"]},
                third,
                experiment("input_x_gradient", "chosen"),
                experiment("long", "central"),
            ],
        }
    )
    planned = place.plan("attributions", overlays=[overlay])
    before = place.run("plan", overlays=[overlay], cores=1)
    outcome = place.run("metrics", overlays=[overlay])
    assert outcome.code == 0, outcome.text
    return place, overlay, planned, before.stdout


def test_added_steps_are_chosen_once_each_and_nothing_else_is_done_again(chosen):
    _, _, planned, _ = chosen
    chosen = ("forward-auto", "forward-auto-float64")
    gradients = [("6", chosen[0]), ("6", chosen[1]), ("2", chosen[0]), ("2", "exact")]
    derived = [("saliency", name) for name in chosen]
    derived += [("input_x_gradient", name) for name in ("exact", chosen[0])]
    alone = [("integrated_gradients", chosen[0]), ("integrated_gradients_published", chosen[0]), ("long", "exact")]
    long = f"{MODEL}, method=long, gradient=central-auto"
    assert dict(planned.wildcards) == {
        **{("choose_step", f"{MODEL}, points={points}, gradient={gradient}"): 1 for points, gradient in CHOICES},
        **{("differentiate", f"{MODEL}, samples={samples}, gradient={name}"): 1 for samples, name in gradients},
        **{("derive", f"{MODEL}, method={method}, gradient={name}"): 1 for method, name in derived},
        **{("attribute", f"{MODEL}, method={method}, gradient={name}"): 1 for method, name in alone},
        **{("attribute_shard", f"{long}, shard={number}-of-2"): 1 for number in (1, 2)},
        ("gather_shards", long): 1,
    }


def test_all_choices_are_one_table_and_stand_in_the_attributions(chosen):
    place, *_ = chosen
    columns = pd.read_parquet(place.directory / "results/steps")[["points", "gradient"]].astype(str)
    assert set(columns.itertuples(index=False, name=None)) == CHOICES.keys()
    for (points, gradient), methods in CHOICES.items():
        choice = read_choice(place.directory / table(points, gradient), gradient.partition("-")[0])
        for method in methods:
            metadata = document(place, f"method={method}", gradient)
            assert metadata["step_choice"] == choice
            assert metadata["setting"] == choice["step"]
            assert metadata["chosen"]
            # Methods of the gradient take it from a file that they share.
            shared = points == "inputs"
            assert metadata["provenance"]["inputs"].keys() & {"choice", "gradient"} == {
                "gradient" if shared else "choice"
            }
    for samples in (2, 6):
        metadata = document(place, f"samples={samples}", "forward-auto", "gradients")
        assert "choice" in metadata["provenance"]["inputs"]
    # A shard makes the check that a whole cell makes.
    gathered = document(place, "method=long", "central-auto")
    assert gathered["model_evaluations"] == 2 * gathered["evaluations"] == 2 * LONG * 2 * 12
    # One more, of a point that was in a batch of the engine.
    assert gathered["check_evaluations"] == document(place, "method=long", "exact")["check_evaluations"] + 1 > 1
    assert gathered["lost_steps"] == 0


def test_a_choice_says_what_it_came_from(chosen):
    place, *_ = chosen
    at_inputs, along_paths = (
        read_provenance(place.directory / table(points, "forward-auto")) for points in ("inputs", "path-zero-4")
    )
    assert at_inputs["inputs"].keys() == {"weights", "test"}
    assert at_inputs["config"]["path_options"] == {}
    assert along_paths["config"]["path_options"] == {"baseline": "zero", "n_steps": 4}
    assert at_inputs["config"]["seed"] != along_paths["config"]["seed"]


def test_a_plan_counts_choices_at_most(chosen):
    place, overlay, _, before = chosen
    rows = re.findall(
        r"^synthetic_linear +mlp +(inputs|path-\S+) +(\d+) +(\d+) +[\d-]+ +([\d,]+) ", before, re.MULTILINE
    )
    assert {row[:3] for row in rows} == {
        ("inputs", "2", "2"),
        ("path-zero-4", "1", "1"),
        (f"path-0.5-{LONG}", "1", "1"),
    }
    assert re.search(r"^choose_step +4 +4 ", before, re.MULTILINE)
    most = sum(int(row[3].replace(",", "")) for row in rows)
    # Of the whole study, and of what is left.
    assert before.count(f"passes, and at most {most:,} to choose settings") == 2
    made = pd.read_parquet(place.directory / "results/steps")["evaluations"].sum()
    assert 0 < made <= most
    after = place.run("plan", overlays=[overlay], cores=1).stdout
    assert re.search(r"^choose_step +4 +0 ", after, re.MULTILINE)
    assert after.count("to choose settings") == 1


def test_only_what_a_choice_is_made_from_makes_it_again(chosen):
    place, overlay, *_ = chosen
    entries = yaml.safe_load(overlay.read_text())["experiments"]

    def jobs(**changes):
        return place.plan("attributions", overlays=[overlay, place.overlay(changes, "other.yaml")])

    # Other plots, and the same experiments in another order, are nothing to choose for.
    assert not jobs(map_setting=0.3, experiments=entries[::-1]).jobs
    more = jobs(experiments=[entries[0] | {"samples": 7}, *entries[1:]])
    assert {names for rule, names in more.wildcards if rule == "choose_step"} == {
        f"{MODEL}, points=inputs, gradient={gradient}" for points, gradient in CHOICES if points == "inputs"
    }
    # Weights do not depend on how rows are evaluated. Other options have these values as well.
    for options in ({"batch_size": 1}, {"check_rows": False}):
        changed = jobs(models={"mlp": options})
        assert changed.jobs["choose_step"] == 4, options
        assert changed.wildcards[("differentiate", f"{MODEL}, samples=6, gradient=exact")] == 1
        assert not changed.jobs.keys() & {"train_model", "prepare_data"}
        assert not [names for _, names in changed.wildcards if "model=cnn" in names]


def test_a_lost_choice_is_made_again(chosen, tmp_path):
    place, overlay, *_ = chosen
    own = copied(place, tmp_path)
    (own.directory / table("path-zero-4", "forward-auto")).unlink()
    assert own.plan("attributions", overlays=[overlay]).jobs["choose_step"] == 1


def test_figures_and_metrics_follow_from_attributions_alone(chosen, tmp_path):
    place, overlay, *_ = chosen
    shutil.copytree(place.directory / "results/attributions", tmp_path / "results/attributions")
    own = Place(tmp_path, place.repository, place.overlays)
    profile = str(REPOSITORY / "workflow" / "profiles" / "redraw")
    outcome = own.run("metrics", "comparison_figures", "--workflow-profile", profile, "--dry-run", overlays=[overlay])
    assert outcome.code == 0, outcome.text
    assert {"evaluate", "plot_boxplots"} <= outcome.jobs.keys()
    made = {"prepare_data", "train_model", "choose_step", "differentiate", "derive", "attribute", "attribute_shard"}
    assert not outcome.jobs.keys() & made


def test_another_machine_may_choose_another_step(chosen, tmp_path):
    place, overlay, *_ = chosen
    own = copied(place, tmp_path)
    overlays = [overlay, own.overlay({"verify": {"cells": 100}}, "verify.yaml")]
    name = table("inputs", "forward-auto")
    found = own.directory / "results/verification/cells.csv"
    # What another machine has chosen, and attributions with it.
    original = pq.read_table(own.directory / name, partitioning=None)
    place_of_step = original.column_names.index("step")
    other = original.set_column(place_of_step, "step", pa.array([2 * original["step"][0].as_py()]))
    pq.write_table(other.replace_schema_metadata(original.schema.metadata), own.directory / name, compression="zstd")
    outcome = own.run("metrics", overlays=overlays)
    assert outcome.code == 0, outcome.text
    doubled, before = (document(one, "method=saliency", "forward-auto")["setting"] for one in (own, place))
    assert doubled == 2 * before
    outcome = own.run("verify", overlays=overlays)
    assert outcome.code == 0, outcome.text
    findings = pd.read_csv(found)
    assert findings["agrees"].all()
    assert (name, "provenance") in set(zip(findings["file"], findings["check"], strict=True))

    # Not the choice that the maps were made with.
    pq.write_table(original, own.directory / name, compression="zstd")
    assert own.run("verify", overlays=overlays).code != 0
    wrong = pd.read_csv(found).query("not agrees")
    assert set(wrong["cell"]) == {
        f"synthetic_linear/mlp/{method}/forward-auto" for method in ("saliency", "input_x_gradient")
    }
    assert wrong["difference"].str.contains("inputs.choice is").any()
