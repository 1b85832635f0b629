import copy
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from approxgrad.planning import plan as planning
from approxgrad.planning.calibration import CalibrationError, Speed
from approxgrad.planning.durations import duration
from approxgrad.planning.evaluations import Inputs, evaluations, known_inputs
from approxgrad.planning.job_table import Calibration, JobListError, OutputFile, elapsed, job_table, one_per_job
from approxgrad.planning.plan import Plan, described, make_plan
from approxgrad.steps.search import most_evaluations
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.study import Study

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
DEFAULT["models"]["mlp"]["training"]["epochs"] = 300
for entry in DEFAULT["datasets"].values():
    if entry["kind"] == "synthetic":
        entry["rows"] = {"train": 700, "validation": 300, "test": 300}
PAIR = ("synthetic_linear", "mlp")
SPEED = Speed(start_up=2.0, forward=100.0, exact=10.0, training=0.001, gpu=False)
INPUTS = {"synthetic_linear": Inputs((12,), 700, 12, 12)}
CALIBRATION = Calibration(0.5, {PAIR: SPEED}, {PAIR: 700 * 300}, threads=1)
OUTPUTS = {"prepare_data": 3, "train_model": 3, "attribute": 1, "differentiate": 1, "derive": 1, "evaluate": 1} | {
    "plot_boxplots": 2
}
MODEL_RULES = ["train_model", "differentiate", "attribute"]
FORWARD = {"difference": "forward", "steps": [0.5, 1]}


def study(methods=("saliency",), samples=10, datasets=("synthetic_linear",), config=None, **source):
    entry = {"datasets": list(datasets), "models": ["mlp"], "methods": list(methods), "gradients": ["own"]}
    asked = {"gradients": {"own": FORWARD | source}, "experiments": [entry | {"samples": samples}]}
    return Study(copy.deepcopy(DEFAULT) | asked | (config or {}))


def files(study, pending=lambda path: True):
    """The files of a study of one model, as Snakemake would list them."""
    data = [("prepare_data", f"data/synthetic_linear/{part}.parquet") for part in ("train", "validation", "test")]
    keys = "dataset=synthetic_linear/model=mlp"
    models = [("train_model", f"results/{kind}/{keys}/file") for kind in ("models", "learning_curves", "test_metrics")]
    gradients = [("differentiate", path) for path in study.gradients]
    cells = [("derive" if study.is_derived(cell) else "attribute", cell.path) for cell in study.cells]
    metrics = [("evaluate", f"results/metrics/{keys}/method=saliency/part-0.parquet")]
    figures = [("plot_boxplots", f"results/figures/{keys}/method=saliency/boxplots.{kind}") for kind in ("svg", "png")]
    every = [*data, *models, *gradients, *cells, *metrics, *figures]
    return [OutputFile(path, rule, there=not pending(path), pending=pending(path)) for rule, path in every]


def table(study, listed=None, inputs=INPUTS, calibration=CALIBRATION):
    """All jobs of a study, those that evaluate a model without other files."""
    counted = evaluations(study, inputs)
    found = [OutputFile(job.path, "attribute", False, True) for job in counted] if listed is None else listed
    return job_table(one_per_job(found, OUTPUTS), counted, MODEL_RULES, calibration)


def tasks(jobs, chooses=False):
    """Jobs, evaluations, exact gradients and seconds by task."""
    own = jobs[jobs["chooses"].eq(chooses)].groupby("task", sort=False)
    sums = own[["forward", "exact", "busy"]].agg(lambda values: values.sum(skipna=False))
    return {task: (len(own.get_group(task)), *map(float, sums.loc[task])) for task in sums.index}


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
    assert known_inputs(asked, "own") == Inputs()
    # The mean has two distinct values.
    features = np.array([[0, 2, 0, 2], [0, 0, 2, 2], [3, 1, 1, 2]], np.float32)
    split = Split(features, np.zeros(3, np.float32), feature_shape=(4,))
    for part in ("train", "test"):
        write_split(tmp_path / "data" / "own" / f"{part}.parquet", split, {})
    assert known_inputs(asked, "own") == Inputs((4,), 3, 2, 2)
    classes = Split(features, np.zeros(3, np.int64), feature_shape=(4,), classes=("a", "b"))
    write_split(tmp_path / "data" / "own" / "test.parquet", classes, {})
    assert known_inputs(asked, "own").outputs == 2


@pytest.fixture
def machine(monkeypatch):
    """A machine that need not be measured; the shapes that were asked for."""
    asked = []

    def measure(shape, model, **options):
        asked.append((shape, model.name, options["training_rows"]))
        return SPEED

    monkeypatch.setattr(planning, "measure_model", measure)
    monkeypatch.setattr(planning, "measure_job", lambda: CALIBRATION.overhead)
    return asked


def planned(study, monkeypatch, listed):
    def listing(_snakefile, document):
        assert document == study.document
        if isinstance(listed, Exception):
            raise listed
        return listed

    monkeypatch.setattr(planning, "output_files", listing)
    return make_plan(study, "Snakefile", MODEL_RULES, OUTPUTS)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nowhere")
def test_the_text_has_the_totals_of_the_study(machine, monkeypatch):
    asked = study()
    text = described(planned(asked, monkeypatch, files(asked)), cores=2)
    assert machine == [((12,), "mlp", 700)]
    # 0.5 + 212 + 9.6 + 1.5 + 0.5 + 0.5 seconds.
    total = (
        "10 jobs, 260 model evaluations and 10 forward and backward passes; about 4 min on one core, 2 min on 2 cores."
    )
    assert f"The whole study: {total}" in text
    assert f"Still to run: {total}" in text
    assert re.search(r"^synthetic_linear +mlp +gradient +3 +3 +10 +260 +10 +3\.6 s$", text, re.MULTILINE)
    assert re.search(r"^synthetic_linear +mlp +saliency +3 +3 +10 +0 +0 +0\.0 s$", text, re.MULTILINE)
    assert re.search(r"^train_model +1 +1 +4 min +4 min$", text, re.MULTILINE)
    assert "The times are estimates" in text


@pytest.mark.usefixtures("nowhere", "machine")
def test_the_text_tells_faithfulness_from_attributions(monkeypatch):
    asked = study(config={"faithfulness": {"samples": 4, "sensitivity": {"moves": 3}}})
    judging = [job.path for job in evaluations(asked, INPUTS) if job.judges]
    listed = [*files(asked), *(OutputFile(path, "attribute", True, True) for path in judging)]
    text = described(planned(asked, monkeypatch, listed), cores=1)
    assert "out of date" not in text
    heading, _, line = text.partition("Faithfulness (time")[2].splitlines()[:3]
    assert "alone" in heading
    # 504 for curves, 312 for maps at moved rows, and 12 exact ones.
    assert re.match(r"^synthetic_linear +mlp +saliency +4 +4 +4 +816 +12 +9\.4 s$", line)
    assert re.search(r"^synthetic_linear +mlp +gradient +3 +3 +10 +260 +10 +3\.6 s$", text, re.MULTILINE)


@pytest.mark.usefixtures("nowhere", "machine")
def test_samples_may_differ_between_the_cells_of_a_line(monkeypatch):
    asked = study(["saliency", "input_x_gradient", "integrated_gradients"])
    experiment = asked.document["experiments"][0] | {"samples_by_method": {"input_x_gradient": 4}}
    asked = Study(copy.deepcopy(DEFAULT) | {"gradients": {"own": FORWARD}, "experiments": [experiment]})
    text = described(planned(asked, monkeypatch, files(asked)), cores=1)
    assert re.search(r"^synthetic_linear +mlp +gradient +6 +6 +4-10 +364 +14 +", text, re.MULTILINE)


@pytest.mark.usefixtures("nowhere", "machine")
def test_a_finished_study_has_nothing_left(monkeypatch):
    asked = study()
    text = described(planned(asked, monkeypatch, files(asked, lambda path: False)), cores=1)
    assert "The whole study: 10 jobs" in text
    assert "Still to run: nothing is left" in text
    assert re.search(r"^differentiate +3 +0 ", text, re.MULTILINE)


@pytest.mark.usefixtures("nowhere", "machine")
def test_files_that_would_be_made_again_are_pointed_out(monkeypatch):
    asked = study()
    listed = [OutputFile(file.path, file.rule, there=True, pending=True) for file in files(asked)]
    assert "Note: 6 files of attributions and gradients exist but are out of date" in described(
        planned(asked, monkeypatch, listed), 1
    )


@pytest.mark.usefixtures("machine")
def test_without_a_list_of_jobs_evaluations_are_counted_from_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = study(steps=["auto"])
    most = f"{most_evaluations(torch.float32, 'forward', 12, 10):,}"
    error = JobListError("own.csv is missing")
    text = described(planned(asked, monkeypatch, error), cores=1)
    assert "Note: only jobs that evaluate models are listed: own.csv is missing" in text
    assert re.search(rf"^synthetic_linear +mlp +inputs +1 +1 +10 +{most} +", text, re.MULTILINE)
    counts = f"130 model evaluations and 10 forward and backward passes, and at most {most} to choose settings."
    assert f"The whole study: 5 jobs, {counts}" in text
    assert f"Still to run: 5 jobs, {counts}" in text
    for path in (*asked.choices, *list(asked.gradients)[:1]):
        Path(path).parent.mkdir(parents=True)
        Path(path).touch()
    text = described(planned(asked, monkeypatch, error), cores=1)
    assert "Still to run: 3 jobs, 130 model evaluations and 0 forward and backward passes." in text


@pytest.mark.usefixtures("nowhere")
def test_equal_models_are_timed_once_and_what_cannot_be_timed_is_said(monkeypatch, machine):
    asked = study(datasets=["synthetic_linear", "synthetic_nonlinear"])
    planned(asked, monkeypatch, files(asked))
    assert len(machine) == 1

    def refuse(*_, **__):
        raise CalibrationError("architecture cnn: expected images")

    monkeypatch.setattr(planning, "measure_model", refuse)
    text = described(planned(asked, monkeypatch, files(asked)), cores=1)
    assert "Note: synthetic_nonlinear/mlp: cannot be timed: architecture cnn: expected images" in text
    assert re.search(r"^differentiate +6 +6 +unknown +unknown$", text, re.MULTILINE)
    assert "besides 7 jobs whose time is unknown" in text


@pytest.mark.usefixtures("nowhere", "machine")
def test_an_unknown_shape_is_said_in_the_table(monkeypatch):
    monkeypatch.setattr(planning, "known_inputs", lambda *_: Inputs())
    text = described(planned(study(), monkeypatch, JobListError("no reason given")), 1)
    assert re.search(
        r"^synthetic_linear +mlp +gradient +3 +3 +10 +unknown until data are prepared +10 +unknown$", text, re.MULTILINE
    )
    assert "6 jobs, at least 0 model evaluations and 10 forward and backward passes." in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(np.nan, "unknown"), (0, "0.0 s"), (99.94, "99.9 s"), (312, "5 min"), (9000, "2.5 h"), (90_000, "25 h")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
