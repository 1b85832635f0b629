"""What the jobs of a study cost."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from approxgrad.planning.calibration import Speed
from approxgrad.planning.evaluations import Inputs, known_inputs
from approxgrad.planning.job_table import Calibration, OutputFile, elapsed
from approxgrad.planning.plan import Plan, described
from approxgrad.steps.search import most_evaluations
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.study import Study
from planned_studies import (
    CALIBRATION,
    DEFAULT,
    PAIR,
    SPEED,
    files,
    study,
    table,
    tasks,
)


def test_costs_are_those_counted_by_hand():
    # Two steps of forward differences of 12 features: 13 evaluations at each of 1 or 50 points; for the published
    # variant with 12 baseline values 12 + 12 at each of 50 points. Its exact counterpart belongs to the other method.
    asked = study(["saliency", "integrated_gradients_mean", "integrated_gradients_published_mean"])
    assert tasks(table(asked)) == {
        "gradient": (3, 2 * 10 * 13, 10, pytest.approx(2.6 + 1)),
        "saliency": (3, 0, 0, 0),
        "integrated_gradients_mean": (3, 2 * 10 * 50 * 13, 500, pytest.approx(130 + 50)),
        "integrated_gradients_published_mean": (2, 2 * 10 * 50 * 24, 0, pytest.approx(240)),
    }


def test_methods_that_share_a_gradient_evaluate_it_once():
    one, both = (tasks(table(study(methods))) for methods in (["saliency"], ["saliency", "input_x_gradient"]))
    assert both == one | {"input_x_gradient": (3, 0, 0, 0)}


def test_central_differences_cost_two_evaluations_per_feature():
    assert tasks(table(study(difference="central")))["gradient"][1] == 2 * 10 * 24


def test_shards_are_jobs_of_which_some_may_be_left():
    # 1,300 evaluations for each of 300 samples: blocks of 50, of which each shard has two.
    method = {"attribution": "integrated_gradients", "baseline": "mean", "n_steps": 100}
    asked = study(["own"], samples=300, steps=[0.5], config={"shards": 3, "methods": {"own": method}})
    exact, cut = asked.cells
    assert (exact.shards, list(cut.jobs.values())) == (1, [(1, 3), (2, 3), (3, 3)])
    done, *pending = cut.shard_paths
    listed = [OutputFile(path, "attribute", path == done, path != done) for path in cut.shard_paths]
    jobs = table(asked, listed)
    assert tasks(jobs)["own"][:2] == (3, 300 * 1300)
    left = jobs[jobs["left"]]
    assert list(left["path"]) == pending
    # Two starts and 200 samples at 100 evaluations a second.
    assert left["seconds"].sum() == pytest.approx(2 * 2.0 + 2600)


def chosen(study, **options):
    """The largest numbers of evaluations of choices at the inputs, and along paths of 50 points to ten of them."""
    return tasks(table(study, **options), chooses=True)


def test_a_chosen_step_costs_a_choice_and_an_attribution():
    asked = study(["saliency", "input_x_gradient", "integrated_gradients"], steps=["auto", 0.5])
    at_inputs, along_paths = (most_evaluations(torch.float32, "forward", 12, points) for points in (10, 500))
    assert chosen(asked) == {
        "inputs": (1, at_inputs, 0, pytest.approx(at_inputs / 100)),
        "path-zero-50": (1, along_paths, 0, pytest.approx(along_paths / 100)),
    }
    assert tasks(table(asked))["gradient"][:3] == (3, 2 * 10 * 13, 10)
    nothing = Calibration(0.0, {}, {}, 1)
    unknown = chosen(study(steps=["auto"]), inputs={"synthetic_linear": Inputs()}, calibration=nothing)
    assert unknown["inputs"] == pytest.approx((1, np.nan, 0, np.nan), nan_ok=True)


def test_faithfulness_costs_evaluations_of_maps_and_sensitivity_the_maps_again():
    asked = {"samples": 4, "steps": 10, "perturbations": 30}
    methods = ["saliency", "input_x_gradient", "integrated_gradients_published_mean"]
    without = table(study(methods))
    assert not without["judges"].any()
    plain = table(study(methods, config={"faithfulness": asked}))
    # The exact gradient and two steps; a curve of 11 points has two ends, and infidelity needs maps with signs.
    curves, noise = 3 * 4 * 2 * 11, 3 * 4 * 31
    assert tasks(plain[plain["judges"]]) == {
        "saliency": (1, curves, 0, pytest.approx(curves / 100)),
        "input_x_gradient": (1, curves + noise, 0, pytest.approx((curves + noise) / 100)),
        "integrated_gradients_published_mean": (1, curves + noise, 0, pytest.approx((curves + noise) / 100)),
    }
    assert tasks(plain[~plain["judges"]]) == tasks(without)
    moved = table(study(methods, config={"faithfulness": asked | {"sensitivity": {"moves": 3}}}))
    own = moved[moved["path"].str.startswith("results/sensitivity/")]
    # Methods that share a gradient do not share it at moved rows, and 12 baseline values cost 12 more at each point.
    maps = 4 * 3
    assert {task: counts[:3] for task, counts in tasks(own).items()} == {
        "saliency": (3, 2 * maps * 13, maps),
        "input_x_gradient": (3, 2 * maps * 13, maps),
        "integrated_gradients_published_mean": (2, 2 * maps * 50 * 24, 0),
        "integrated_gradients_mean": (1, 0, maps * 50),
    }


def test_a_choice_is_made_in_the_precision_of_its_cells():
    single, double = (chosen(study(steps=["auto"], dtypes=[dtype]))["inputs"][1] for dtype in ("float32", "float64"))
    assert double == most_evaluations(torch.float64, "forward", 12, 10) != single


def test_an_unknown_shape_leaves_only_the_exact_gradients_known():
    own = tasks(table(study(), inputs={"synthetic_linear": Inputs()}))["gradient"]
    assert own == pytest.approx((3, np.nan, 10, np.nan), nan_ok=True)


def by_rule(jobs, value):
    return {str(rule): value(own) for rule, own in jobs.groupby("rule", sort=False)}


def test_jobs_are_counted_once_however_many_files_they_write():
    asked = study()
    jobs = table(asked, files(asked))
    assert by_rule(jobs, len) == {
        "prepare_data": 1,
        "train_model": 1,
        "differentiate": 3,
        "derive": 3,
        "evaluate": 1,
        "plot_boxplots": 1,
    }
    # 300 epochs of 700 rows; three starts, 260 evaluations and 10 exact gradients.
    assert by_rule(jobs, lambda own: own["seconds"].sum()) == pytest.approx(
        {"prepare_data": 0.5, "train_model": 2 + 210, "differentiate": 6 + 3.6, "derive": 1.5, "evaluate": 0.5}
        | {"plot_boxplots": 0.5}
    )


def test_only_pending_jobs_are_left():
    asked = study()
    jobs = table(asked, files(asked, lambda path: "h1/" in path or "metrics/dataset" in path))
    left = jobs[jobs["left"]]
    assert by_rule(left, len) == {"differentiate": 1, "derive": 1, "evaluate": 1}
    assert by_rule(left, lambda own: own["seconds"].sum())["differentiate"] == pytest.approx(2 + 1.3)


def test_jobs_of_models_without_a_calibration_are_unknown():
    asked = study()
    unknown = Calibration(CALIBRATION.overhead, {}, {}, 1)
    jobs = table(asked, files(asked), calibration=unknown)
    assert by_rule(jobs, lambda own: own["seconds"].isna().sum()) == {
        "prepare_data": 0,
        "train_model": 1,
        "differentiate": 3,
        "derive": 0,
        "evaluate": 0,
        "plot_boxplots": 0,
    }
    rows_unknown = Calibration(CALIBRATION.overhead, {PAIR: SPEED}, {}, 1)
    assert by_rule(table(asked, files(asked), calibration=rows_unknown), lambda own: own["seconds"].isna().sum()) == {
        **dict.fromkeys(["prepare_data", "differentiate", "derive", "evaluate", "plot_boxplots"], 0),
        "train_model": 1,
    }


def test_a_model_without_exact_gradients_has_no_time_for_them():
    slow = Calibration(0.0, {PAIR: Speed(2.0, 100.0, 0.0, 0.0, False)}, {}, 1)
    jobs = table(study(), calibration=slow)
    assert jobs.loc[jobs["exact"] > 0, "seconds"].isna().all()
    assert jobs.loc[jobs["exact"] == 0, "seconds"].notna().all()


def test_time_is_shared_by_cores_but_a_gpu_serves_one_job():
    tables = pd.DataFrame({"seconds": [2.0] * 4, "threads": 1, "gpu": False})
    models = pd.DataFrame({"seconds": [5.0, 5.0], "threads": 2, "gpu": False})
    on_cpu = pd.concat([tables, models])
    assert elapsed(on_cpu, 1) == 18
    assert elapsed(on_cpu, 4) == (8 + 2 * 10) / 4
    on_gpu = pd.concat([tables, models.assign(threads=1, gpu=True)])
    assert elapsed(on_gpu, 8) == 10


def test_gpu_hours_follow_from_the_measured_rate():
    forward, start = 0.05, 2.0
    speed = Speed(start_up=start, forward=forward, exact=10.0, training=0.0, gpu=True)
    jobs = table(study(), calibration=Calibration(0.0, {PAIR: speed}, {PAIR: 0}, 1))
    hours = jobs["seconds"].sum() / 3600
    assert f"{hours:.2g} GPU-hours of these at the measured rate" in described(Plan(jobs), cores=2)
    assert hours >= jobs["forward"].sum() / forward / 3600 > 0.5
    assert "GPU-hours" not in described(Plan(table(study())), cores=2)


def test_what_the_configuration_tells_is_what_the_prepared_data_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = Study(copy.deepcopy(DEFAULT))
    for dataset in ("digits", "synthetic_linear"):
        train = asked.dataset(dataset).prepare(0, [])["train"]
        told = known_inputs(asked, dataset)
        assert (told.shape, told.training_rows) == (train.feature_shape, len(train.target))


def test_prepared_data_tell_what_the_configuration_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"kind": "table", "task": "regression", "path": "own.npz", "arrays": {"all": ["x", "y"]}}
    asked = study(datasets=["own"], config={"datasets": {"own": own}})
    assert known_inputs(asked, "own") == Inputs(outputs=1)
    # The mean has two distinct values.
    features = np.array([[0, 2, 0, 2], [0, 0, 2, 2], [3, 1, 1, 2]], np.float32)
    split = Split(features, np.zeros(3, np.float32), feature_shape=(4,))
    for part in ("train", "test"):
        write_split(tmp_path / "data" / "own" / f"{part}.parquet", split, {})
    assert known_inputs(asked, "own") == Inputs((4,), 3, 2, 2, 1)
    classes = Split(features, np.zeros(3, np.int64), feature_shape=(4,), classes=("a", "b"))
    write_split(tmp_path / "data" / "own" / "test.parquet", classes, {})
    assert known_inputs(asked, "own").outputs == 2
