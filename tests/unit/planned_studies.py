"""Small studies, their files, and what their jobs cost."""

import copy
from pathlib import Path

import yaml

from approxgrad.planning.calibration import Speed
from approxgrad.planning.evaluations import Inputs, evaluations
from approxgrad.planning.job_table import Calibration, OutputFile, job_table, one_per_job
from approxgrad.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
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
