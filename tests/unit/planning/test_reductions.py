"""What a plan says of a study that takes long."""

import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from approxgrad.planning.plan import Plan, described
from approxgrad.planning.reductions import DENSE, LONG_SECONDS, reductions
from approxgrad.study.study import Study

STUDY = Study(yaml.safe_load((Path(__file__).resolve().parents[3] / "config" / "config.yaml").read_text()))
HOUR = 3600.0


def job(seconds, task, number=1, *, model="resnet18", forward=1000, left=True, chooses=False, judges=False):
    path = f"results/attributions/dataset=digits/model={model}/{task}/{number}"
    named = {"dataset": "digits", "model": model, "task": task, "chooses": chooses, "whole": path}
    named["judges"] = judges
    counts = {"samples": 20.0, "forward": float(forward), "exact": 0.0}
    return {"path": path, "rule": "attribute", "left": left, "seconds": seconds, "busy": seconds} | named | counts


def other(seconds, rule, path):
    unknown = {"chooses": math.nan, "judges": math.nan}
    return {"path": path, "rule": rule, "left": True, "seconds": seconds, "busy": 0.0} | unknown


def table(*jobs):
    return pd.DataFrame(jobs).assign(threads=1, gpu=False).astype({"left": bool})


def test_the_parts_that_take_most_are_named_with_what_they_are_in_proportion_to():
    jobs = [job(2 * HOUR, "integrated_gradients", number) for number in range(4)]
    jobs += [job(HOUR, "gradient"), job(0.1 * HOUR, "saliency", forward=0)]
    jobs += [other(3 * HOUR, "train_model", "results/models/dataset=digits/model=cnn/model.safetensors")]
    assert reductions(STUDY, table(*jobs)) == [
        "It takes long. Most of the time goes to:",
        "  integrated_gradients of resnet18 on digits: 8.0 h of 12 h; in proportion to samples (20), n_steps (50), "
        "settings of gradients (4 with the exact one)",
        "  train_model cnn on digits: 3.0 h of 12 h; in proportion to epochs (10), rows of training",
    ]


def test_what_is_done_or_of_unknown_time_is_not_named():
    done, unknown = job(9 * HOUR, "gradient", left=False), job(math.nan, "integrated_gradients")
    lines = reductions(STUDY, table(done, unknown, job(HOUR, "gradient", model="cnn")))
    assert lines[1:] == ["  gradients of cnn on digits: 60 min of 60 min; in proportion to samples (20)"]
    assert reductions(STUDY, table(done)) == []


def test_what_faithfulness_costs_is_told_apart_from_the_maps():
    asked = job(HOUR, "saliency", forward=10**6, judges=True)
    lines = reductions(STUDY, table(asked))
    assert lines[1:] == [
        "  faithfulness of saliency of resnet18 on digits: 60 min of 60 min; in proportion to "
        "samples of faithfulness (20)"
    ]
    config = STUDY.document | {"faithfulness": {"sensitivity": {"moves": 7}}}
    lines = reductions(Study(config), table(asked))
    assert lines[1].endswith("in proportion to samples of faithfulness (20), sensitivity.moves (7)")


def test_many_small_jobs_and_chosen_steps_have_words_of_their_own():
    figures = [other(HOUR, "plot_boxplots", f"results/figures/{number}.svg") for number in range(3)]
    lines = reductions(STUDY, table(*figures, job(HOUR, "inputs", chooses=True)))
    assert lines[1:] == [
        "  plot_boxplots: 3.0 h of 4.0 h; in proportion to their number (3 jobs)",
        "  steps chosen for inputs of resnet18 on digits: 60 min of 4.0 h; in proportion to samples (20)",
    ]


@pytest.mark.parametrize(("forward", "told"), [(20 * 3073, True), (20 * 65, False)])
def test_a_difference_for_each_of_many_features_has_a_hint(forward, told):
    for task, points in (("gradient", 1), ("integrated_gradients", 50)):
        lines = reductions(STUDY, table(job(HOUR, task, forward=forward * points)))
        assert (DENSE in lines) == told


@pytest.mark.parametrize(("seconds", "cores", "told"), [(HOUR, 1, True), (HOUR, 4, False), (LONG_SECONDS, 1, False)])
def test_a_plan_says_it_of_long_studies_alone(seconds, cores, told):
    jobs = table(job(seconds, "gradient"))
    text = described(Plan(jobs, reductions=reductions(STUDY, jobs)), cores)
    assert ("It takes long" in text) == told
