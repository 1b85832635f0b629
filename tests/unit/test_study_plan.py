import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from approxgrad.datasets import cifar10, digits, image_folder, synthetic, table
from approxgrad.planning import plan as planning
from approxgrad.planning.calibration import CalibrationError, Speed
from approxgrad.planning.costs import (
    JobTime,
    Overhead,
    RuleCost,
    choice_costs,
    elapsed,
    method_costs,
    rule_costs,
)
from approxgrad.planning.counts import Inputs, known_inputs
from approxgrad.planning.job_list import JobListError, OutputFile
from approxgrad.planning.plan import Plan, described, duration, make_plan, needed
from approxgrad.steps.search import most_evaluations
from approxgrad.storage.tables import Split, write_split
from approxgrad.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
SCRIPTS = ROOT / "workflow" / "scripts"
PAIR = ("synthetic_linear", "mlp")
SPEED = Speed(start_up=2.0, forward=100.0, exact=10.0, training=0.001, gpu=False)
INPUTS = {"synthetic_linear": Inputs((12,), 700, 12)}
OVERHEAD = Overhead(table=0.5, figure=1.5)
OUTPUTS = {"prepare_data": 3, "train_model": 3, "attribute": 1, "evaluate": 1, "plot_boxplots": 2}
NEEDS = {"prepare_data": "table", "train_model": "model", "attribute": "model", "evaluate": "table"} | {
    "plot_boxplots": "figure"
}


def study(methods=("saliency",), steps=(0.5, 1), samples=10, datasets=("synthetic_linear",), config=None):
    entry = {"datasets": list(datasets), "models": ["mlp"], "methods": list(methods), "steps": list(steps)}
    return Study(copy.deepcopy(DEFAULT) | (config or {}) | {"experiments": [entry | {"samples": samples}]})


def files(study, pending=lambda path: True):
    """The files of a study of one model, as Snakemake would list them."""
    data = [("prepare_data", f"data/synthetic_linear/{part}.parquet") for part in ("train", "validation", "test")]
    keys = "dataset=synthetic_linear/model=mlp"
    models = [("train_model", f"results/{kind}/{keys}/file") for kind in ("models", "learning_curves", "test_metrics")]
    cells = [("attribute", cell.path) for cell in study.cells]
    metrics = [("evaluate", f"results/metrics/{keys}/method=saliency/part-0.parquet")]
    figures = [("plot_boxplots", f"results/figures/{keys}/method=saliency/boxplots.{kind}") for kind in ("svg", "png")]
    every = [*data, *models, *cells, *metrics, *figures]
    return [OutputFile(path, rule, there=not pending(path), pending=pending(path)) for rule, path in every]


def costs(study, finished=(), speeds=None, inputs=INPUTS):
    rows = method_costs(study, inputs, {PAIR: SPEED} if speeds is None else speeds, finished)
    return {cost.method: cost for cost in rows}


def work(cost):
    return cost.jobs, cost.forward, cost.exact, cost.seconds


def test_costs_are_those_counted_by_hand():
    # Two steps of forward differences of 12 features: 13 evaluations at each of 1 or 50 points; for the published
    # variant with 12 baseline values 12 + 12 at each of 50 points. Its exact counterpart belongs to the other method.
    rows = costs(study(["saliency", "integrated_gradients_mean", "integrated_gradients_published_mean"]))
    assert work(rows["saliency"].whole) == (3, 2 * 10 * 13, 10, pytest.approx(2.6 + 1))
    assert work(rows["integrated_gradients_mean"].whole) == (3, 2 * 10 * 50 * 13, 500, pytest.approx(130 + 50))
    assert work(rows["integrated_gradients_published_mean"].whole) == (2, 2 * 10 * 50 * 24, 0, pytest.approx(240))


def test_central_differences_cost_two_evaluations_per_feature():
    small = study()
    small.config["experiments"][0]["schemes"] = ["central"]
    assert costs(Study(small.config))["saliency"].whole.forward == 2 * 10 * 24


def test_finished_cells_are_not_left():
    asked = study()
    finished = {cell.path for cell in asked.cells if cell.gradient.step != 1}
    cost = costs(asked, finished)["saliency"]
    assert work(cost.whole) == (3, 260, 10, pytest.approx(3.6))
    assert work(cost.left) == (1, 130, 0, pytest.approx(1.3))
    assert work(costs(asked, {cell.path for cell in asked.cells})["saliency"].left) == (0, 0, 0, 0)


def test_shards_are_jobs_of_which_some_may_be_left():
    # 1,300 evaluations for each of 300 samples: blocks of 50, of which each shard has two.
    config = {"shards": 3, "methods": DEFAULT["methods"] | {"saliency": {"attribution": "saliency"}}}
    asked = study(["integrated_gradients_mean"], [0.5], samples=300, config=config)
    asked.config["methods"]["integrated_gradients_mean"]["n_steps"] = 100
    asked = Study(asked.config)
    exact, cut = asked.cells
    assert (exact.shards, list(cut.jobs.values())) == (1, [(1, 3), (2, 3), (3, 3)])
    done, *pending = cut.shard_paths
    cost = costs(asked, {done, exact.path})["integrated_gradients_mean"]
    assert work(cost.whole)[:3] == (4, 300 * 1300, 300 * 100)
    assert work(cost.left)[:3] == (2, 200 * 1300, 0)
    assert work(costs(asked, {exact.path, cut.path})["integrated_gradients_mean"].left) == (0, 0, 0, 0)
    listed = [OutputFile(path, "attribute_shard", there=False, pending=True) for path in pending]
    (row,) = rule_costs(
        asked, listed, {"attribute_shard": "model"}, {"attribute_shard": 1}, INPUTS, {PAIR: SPEED}, OVERHEAD
    )
    # Two starts and 200 samples at 100 evaluations a second.
    assert (row.left.jobs, row.left.seconds) == (2, pytest.approx(2 * 2.0 + 2600))


def chosen_steps(study):
    """The largest numbers of evaluations of choices at the inputs, and along paths of 50 points to ten of them."""
    rows = choice_costs(study, INPUTS, {PAIR: SPEED}, ())
    return {row.points: work(row.whole) for row in rows}


def test_a_chosen_step_costs_a_choice_and_an_attribution():
    asked = study(["saliency", "input_x_gradient", "integrated_gradients"], ["auto", 0.5])
    at_inputs, along_paths = (most_evaluations(torch.float32, "forward", 12, points) for points in (10, 500))
    assert chosen_steps(asked) == {
        "inputs": (1, at_inputs, 0, pytest.approx(at_inputs / 100)),
        "path-zero-50": (1, along_paths, 0, pytest.approx(along_paths / 100)),
    }
    assert work(costs(asked)["saliency"].whole)[:3] == (3, 2 * 10 * 13, 10)
    first, second = asked.choices
    rows = choice_costs(asked, INPUTS, {}, {first})
    assert [(row.left.jobs, row.left.forward) for row in rows] == [(0, 0), (1, along_paths)]
    (unknown,) = choice_costs(study(steps=["auto"]), {"synthetic_linear": Inputs()}, {}, ())
    assert work(unknown.whole) == (1, None, 0, None)
    listed = [OutputFile(path, "choose_step", there=False, pending=path == second) for path in (first, second)]
    (row,) = rule_costs(asked, listed, {"choose_step": "model"}, {"choose_step": 1}, INPUTS, {PAIR: SPEED}, OVERHEAD)
    assert row.whole.seconds == pytest.approx(2 * 2.0 + (at_inputs + along_paths) / 100)
    assert (row.left.jobs, row.left.seconds) == (1, pytest.approx(2.0 + along_paths / 100))


def test_a_choice_is_made_in_the_precision_of_its_cells():
    asked = study(steps=["auto"])
    asked.config["experiments"][0]["dtypes"] = ["float64"]
    most = most_evaluations(torch.float64, "forward", 12, 10)
    assert chosen_steps(Study(asked.config))["inputs"][1] == most != chosen_steps(study(steps=["auto"]))["inputs"][1]


def test_an_unknown_shape_leaves_only_the_exact_gradients_known():
    cost = costs(study(), inputs={"synthetic_linear": Inputs()})["saliency"]
    assert work(cost.whole) == (3, None, 10, None)


def test_samples_may_differ_between_steps():
    asked = study()
    more = asked.config["experiments"][0] | {"steps": [2], "samples": 10}
    other = more | {"methods": ["integrated_gradients"], "samples": 4}
    rows = costs(Study(asked.config | {"experiments": [*asked.config["experiments"], more, other]}))
    assert rows["saliency"].samples == (10, 10)
    assert rows["saliency"].whole.jobs == 4
    assert rows["integrated_gradients"].samples == (4, 4)


def jobs(study, listed, **changes):
    options = {"inputs": INPUTS, "speeds": {PAIR: SPEED}, "overhead": OVERHEAD} | changes
    return {cost.rule: cost for cost in rule_costs(study, listed, NEEDS, OUTPUTS, **options)}


def test_jobs_are_counted_once_however_many_files_they_write():
    asked = study()
    rows = jobs(asked, files(asked))
    assert {rule: cost.whole.jobs for rule, cost in rows.items()} == {
        "prepare_data": 1,
        "train_model": 1,
        "attribute": 3,
        "evaluate": 1,
        "plot_boxplots": 1,
    }
    # 300 epochs of 700 rows; three starts, 260 evaluations and 10 exact gradients.
    seconds = {rule: cost.whole.seconds for rule, cost in rows.items()}
    assert seconds == pytest.approx(
        {"prepare_data": 0.5, "train_model": 2 + 210, "attribute": 6 + 3.6, "evaluate": 0.5, "plot_boxplots": 1.5}
    )


def test_only_pending_jobs_are_left():
    asked = study()
    rows = jobs(asked, files(asked, lambda path: "h1" in path or "metrics/dataset" in path))
    assert {rule: cost.left.jobs for rule, cost in rows.items() if cost.left.jobs} == {
        "attribute": 1,
        "evaluate": 1,
    }
    assert rows["attribute"].left.seconds == pytest.approx(2 + 1.3)


def test_jobs_of_models_without_a_calibration_are_unknown():
    asked = study()
    rows = jobs(asked, files(asked), speeds={})
    assert (rows["attribute"].whole.unknown, rows["train_model"].whole.unknown) == (3, 1)
    assert rows["evaluate"].whole == JobTime(1, 0.5, 0)


def test_time_is_shared_by_cores_but_a_gpu_serves_one_job():
    table, model = JobTime(4, 8.0), JobTime(2, 10.0)
    on_cpu = [RuleCost("evaluate", table, table), RuleCost("attribute", model, model, threads=2)]
    assert elapsed(on_cpu, 1, left=False) == 18
    assert elapsed(on_cpu, 4, left=False) == (8 + 2 * 10) / 4
    on_gpu = [on_cpu[0], RuleCost("attribute", model, model, gpu=True)]
    assert elapsed(on_gpu, 8, left=True) == 10


IMAGES = {"channels": 3, "size": [24, 32]}


@pytest.mark.parametrize(
    ("module", "options", "shape", "rows"),
    [
        (digits, {"validation": 0.15, "test": 0.25}, (1, 8, 8), 1797 - 270 - 450),
        (synthetic, {"effect": "linear", "rows": {"train": 70, "test": 30}}, (12,), 70),
        (cifar10, {"validation": 0.1}, (3, 32, 32), 45_000),
        (cifar10, {"validation": 5000, "limit": {"train": 100}}, (3, 32, 32), 100),
        (image_folder, IMAGES, (3, 24, 32), None),
        (image_folder, IMAGES | {"limit": {"train": 9}}, (3, 24, 32), 9),
        (table, {"features": ["a", "b"], "target": "y"}, (2,), None),
        (table, {"arrays": {"all": ["x", "y"]}}, None, None),
    ],
)
def test_kinds_tell_shape_and_training_rows_from_the_configuration(module, options, shape, rows):
    assert (module.feature_shape(options), module.training_rows(options)) == (shape, rows)


@pytest.mark.parametrize("dataset", ["digits", "synthetic_linear"])
def test_what_the_configuration_tells_is_what_the_prepared_data_have(dataset):
    options = Study(copy.deepcopy(DEFAULT)).config["datasets"][dataset]
    module = digits if dataset == "digits" else synthetic
    train = module.prepare(options, 0)["train"]
    assert module.feature_shape(options) == train.feature_shape
    assert module.training_rows(options) == len(train.target)


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
    assert known_inputs(asked, "own") == Inputs((4,), 3, 2)


@pytest.mark.parametrize(
    ("script", "loads"),
    [("attribute", "model"), ("train_model", "model"), ("evaluate", "table"), ("plot_maps", "figure"), ("?", "table")],
)
def test_what_a_job_loads_is_read_from_its_script(script, loads):
    assert needed(SCRIPTS / f"{script}.py") == loads


@pytest.fixture
def machine(monkeypatch):
    """A machine that need not be measured; the shapes that were asked for."""
    asked = []

    def measure(shape, architecture, **options):
        asked.append((shape, architecture["architecture"], options["training"]["rows"]))
        assert architecture.keys() <= {"architecture", "hidden", "dropout"}
        return SPEED

    monkeypatch.setattr(planning, "measure_model", measure)
    monkeypatch.setattr(planning, "measure_table_job", lambda: 0.5)
    monkeypatch.setattr(planning, "measure_figure_job", lambda: 1.5)
    return asked


def planned(study, monkeypatch, listed):
    def listing(*_):
        if isinstance(listed, Exception):
            raise listed
        return listed

    monkeypatch.setattr(planning, "output_files", listing)
    return make_plan(study, "Snakefile", {rule: str(SCRIPTS / f"{rule}.py") for rule in OUTPUTS}, OUTPUTS)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nowhere")
def test_the_text_has_the_totals_of_the_study(machine, monkeypatch):
    asked = study()
    text = described(planned(asked, monkeypatch, files(asked)), cores=2)
    assert machine == [((12,), "mlp", 700)]
    # 0.5 + 212 + 9.6 + 0.5 + 1.5 seconds.
    total = (
        "7 jobs, 260 model evaluations and 10 forward and backward passes; about 4 min on one core, 2 min on 2 cores."
    )
    assert f"The whole study: {total}" in text
    assert f"Still to run: {total}" in text
    assert re.search(r"^synthetic_linear +mlp +saliency +3 +3 +10 +260 +10 +3\.6 s$", text, re.MULTILINE)
    assert re.search(r"^train_model +1 +1 +4 min +4 min$", text, re.MULTILINE)
    assert "an estimate" in text


@pytest.mark.usefixtures("nowhere", "machine")
def test_a_finished_study_has_nothing_left(monkeypatch):
    asked = study()
    text = described(planned(asked, monkeypatch, files(asked, lambda path: False)), cores=1)
    assert "The whole study: 7 jobs" in text
    assert "Still to run: nothing is left" in text
    assert re.search(r"^attribute +3 +0 ", text, re.MULTILINE)


@pytest.mark.usefixtures("nowhere", "machine")
def test_files_that_would_be_made_again_are_pointed_out(monkeypatch):
    asked = study()
    listed = [OutputFile(file.path, file.rule, there=True, pending=True) for file in files(asked)]
    assert "Note: 3 attribution files are there but out of date" in described(planned(asked, monkeypatch, listed), 1)


@pytest.mark.usefixtures("machine")
def test_without_a_list_of_jobs_attributions_are_counted_from_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = study()
    path = Path(asked.cells[0].path)
    path.parent.mkdir(parents=True)
    path.touch()
    text = described(planned(asked, monkeypatch, JobListError("own.csv is missing")), cores=1)
    assert "Note: jobs other than attributions cannot be listed: own.csv is missing" in text
    assert "The whole study: 3 attributions" in text
    assert "Still to run: 2 attributions" in text


@pytest.mark.usefixtures("machine")
def test_choices_stand_in_the_text(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = study(steps=["auto"])
    most = f"{most_evaluations(torch.float32, 'forward', 12, 10):,}"
    text = described(planned(asked, monkeypatch, JobListError("own.csv is missing")), cores=1)
    assert re.search(rf"^synthetic_linear +mlp +inputs +1 +1 +{most} +", text, re.MULTILINE)
    assert text.count("3 attributions and choices of steps, 130 model evaluations and 10 forward and backward") == 2
    assert text.count(f" passes, and at most {most} to choose steps.") == 2
    (path,) = map(Path, asked.choices)
    path.parent.mkdir(parents=True)
    path.touch()
    text = described(planned(asked, monkeypatch, JobListError("own.csv is missing")), cores=1)
    assert (
        "Still to run: 2 attributions and choices of steps, 130 model evaluations and 10 forward and backward passes."
        in text
    )


@pytest.mark.usefixtures("nowhere")
def test_equal_models_are_timed_once_and_what_cannot_be_timed_is_said(monkeypatch, machine):
    asked = study(datasets=["synthetic_linear", "synthetic_nonlinear"])
    planned(asked, monkeypatch, files(asked))
    assert len(machine) == 1

    other = study(config={"models": DEFAULT["models"] | {"mlp": DEFAULT["models"]["mlp"] | {"batch_size": 1}}})
    monkeypatch.setattr(planning, "measure_model", lambda *_, **options: machine.append(options["rows"]) or SPEED)
    planned(other, monkeypatch, files(other))
    assert machine[1:] == [1]

    def refuse(*_, **__):
        raise CalibrationError("architecture cnn: expected images")

    monkeypatch.setattr(planning, "measure_model", refuse)
    text = described(planned(asked, monkeypatch, files(asked)), cores=1)
    assert "Note: synthetic_nonlinear/mlp: cannot be timed: architecture cnn: expected images" in text
    assert re.search(r"^attribute +6 +6 +unknown +unknown$", text, re.MULTILINE)


def test_an_unknown_shape_is_said_in_the_table():
    cost = method_costs(study(), {"synthetic_linear": Inputs()}, {}, ())
    (line,) = (line for line in described(Plan(cost, []), 1).splitlines() if line.startswith("synthetic_linear"))
    assert re.fullmatch(
        r"synthetic_linear +mlp +saliency +3 +3 +10 +unknown until data are prepared +10 +unknown", line
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0, "0.0 s"), (99.94, "99.9 s"), (312, "5 min"), (9000, "2.5 h"), (90_000, "25 h")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
