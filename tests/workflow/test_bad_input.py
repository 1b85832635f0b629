"""Bad input stops with one clear line each, before anything half-made is left behind.

The tables are in `bad_configs.py`, `bad_config_files.py`, `bad_data.py` and `bad_models.py`. Every row is tried in this
process; some, and with `make soak` all, also as a person would: with Snakemake.
"""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from snakemake.utils import update_config

from approxgrad.descriptions import written
from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.models.making import fitted_model, trained_model
from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model
from approxgrad.models.weights import read_weights
from approxgrad.running.job import is_expected
from approxgrad.storage.splits import write_split
from approxgrad.study.cells import attribute_cell
from approxgrad.study.config_files import check_config_files
from approxgrad.study.configuration import ConfigError
from approxgrad.study.study import Study
from bad_config_files import FILES
from bad_configs import CONFIGS
from bad_data import DATA
from bad_models import MODELS_AND_RESULTS, factory
from running import REPOSITORY, TINY

JOBS = [*DATA, *MODELS_AND_RESULTS]
CPU = torch.device("cpu")
OUTPUTS = {
    "prepare_data": "data/own/*.parquet",
    "train_model": "results/models/**/*.safetensors",
    "load_model": "results/models/**/*.safetensors",
    "attribute": "results/attributions/**/*.parquet",
    "evaluate": "results/metrics/**/*.parquet",
}
TARGETS = {
    "prepare_data": ["data"],
    "train_model": ["models"],
    "load_model": ["models"],
    "attribute": ["attributions"],
    "evaluate": ["metrics", "--workflow-profile", REPOSITORY / "workflow" / "profiles" / "redraw"],
}


def name(bad):
    return bad.what


def merged(changes):
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    for overlay in (yaml.safe_load(TINY.read_text()), changes):
        update_config(config, copy.deepcopy(overlay))
    return config


@pytest.mark.parametrize("bad", CONFIGS, ids=name)
def test_configurations_are_refused(bad):
    with pytest.raises(ConfigError) as error:
        Study(merged(bad.config))
    assert tuple(str(error.value).splitlines()) == bad.lines


@pytest.mark.parametrize("bad", FILES, ids=name)
def test_configuration_files_are_refused(bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_bytes(bad.config)
    with pytest.raises(ConfigError) as error:
        check_config_files(["config.yaml", "config.yaml", "elsewhere.yaml"])
    assert tuple(str(error.value).splitlines()) == bad.lines


def prepared(study):
    own = study.dataset(study.datasets[0])
    return own.prepare(0, [Path(source) for source in own.sources(study.datasets[0])])


def described(study, part):
    ((_, model),) = study.models
    own = study.model(model)
    return {"input_shape": part.feature_shape, "outputs": part.outputs, **own.architecture()}, own


def load_model(study):
    test = prepared(study)["test"]
    description, own = described(study, test)
    file = own.weights.file
    fitted_model("results/models/own.safetensors", description, read_weights(file)[0], file, test, CPU)


def train_model(study):
    parts = prepared(study)
    description, own = described(study, parts["test"])
    trained_model("results/models/own.safetensors", description, parts, written(own.training), CPU, seed=0)


def attribute(study):
    test = prepared(study)["test"]
    description, own = described(study, test)
    torch.manual_seed(0)
    write_split("test.parquet", test, {})
    save_model("weights.safetensors", build_model(**description), description)
    cell = next(cell for cell in study.evaluating if not cell.gradient.is_exact)
    attribute_cell(
        model={"kind": own.name, **own.opening()},
        weights="weights.safetensors",
        test="test.parquet",
        training=None,
        method=study.cell_method(cell).entry,
        gradient=cell.gradient.entry,
        samples=cell.samples,
        sample_seed=0,
        memory_mib=None,
        device=CPU,
    )


def evaluate(study):
    (names,) = study.comparisons
    evaluate_method([cell.path for cell in study.references(*names)], [c.path for c in study.approximated(*names)])


WORK = {
    "prepare_data": prepared,
    "load_model": load_model,
    "train_model": train_model,
    "attribute": attribute,
    "evaluate": evaluate,
}


@pytest.mark.parametrize("bad", JOBS, ids=name)
def test_jobs_refuse(bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad.write(tmp_path)
    study = Study(merged(bad.config))
    with pytest.raises(Exception) as error:  # noqa: PT011 - is told apart below
        WORK[bad.rule](study)
    assert is_expected(error.value), repr(error.value)
    (line,) = str(error.value).splitlines()
    assert line.isprintable()
    assert bad.says in line
    assert not list(tmp_path.glob(OUTPUTS[bad.rule])) or bad.rule == "attribute"
    assert not Path("executed").exists()


def said(outcome, beginning):
    return [line for line in outcome.stderr.splitlines() if line.startswith(beginning)]


# One of each kind is enough to see that Snakemake passes it on.
AS_A_PERSON = {"four faults at once", "a key twice", "a class without images", "a pickle with code", "a flipped bit"}


def often(table):
    return [
        pytest.param(bad, id=bad.what, marks=[] if bad.what in AS_A_PERSON else [pytest.mark.soak]) for bad in table
    ]


def check_refused(place, outcome, lines):
    assert outcome.code != 0
    spoken = [line for line in outcome.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert spoken == [f"Configuration error: {line}" for line in lines]
    assert not (place.directory / "results").exists()
    assert not (place.directory / "data").exists()


@pytest.mark.workflow
@pytest.mark.parametrize("bad", often(CONFIGS))
def test_snakemake_refuses_configurations(bad, empty):
    overlay = empty.overlay(yaml.safe_dump(bad.config, sort_keys=False))
    check_refused(empty, empty.run(overlays=[TINY, overlay]), bad.lines)


@pytest.mark.workflow
@pytest.mark.parametrize("bad", often(FILES))
def test_snakemake_refuses_configuration_files(bad, empty):
    (empty.directory / "config.yaml").write_bytes(bad.config)
    check_refused(empty, empty.run(configured=False), bad.lines)


ENDINGS = {
    "killed": ("os.kill(os.getpid(), 9)", "was ended by SIGKILL, most often because memory ran out: "),
    "crashed": ("os.abort()", "was ended by SIGABRT, a crash in compiled code"),
    "ended": ("os._exit(1)", "ended with status 1 and without a message, as after os._exit"),
    "ended well": ("os._exit(0)", "ended without its results and without a message, as after os._exit"),
    "interrupted": ("raise KeyboardInterrupt", "KeyboardInterrupt() ended it, which the code of a network or"),
}


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("code", "says"),
    [
        pytest.param(*row, id=name, marks=[] if name == "killed" else [pytest.mark.soak])
        for name, row in ENDINGS.items()
    ],
)
def test_snakemake_says_one_line_for_a_job_that_cannot(empty, code, says):
    bad = factory("", says, f"    import os; {code}\n")
    bad.write(empty.directory)
    outcome = empty.run("models", overlays=[TINY, empty.overlay(bad.config)], cores=1)
    assert outcome.code != 0
    (line,) = said(outcome, "approxgrad:")
    assert line.startswith(f"approxgrad: train_model dataset=synthetic_linear, model=own: {says}")
    assert line.endswith("(details: logs/train_model/synthetic_linear/own.log)")
    for words in ("Traceback", "RuleException", "Error in rule", "WorkflowError", "MissingOutput"):
        assert words not in outcome.text


@pytest.mark.workflow
@pytest.mark.parametrize("bad", often(JOBS))
def test_snakemake_says_one_line_for_a_job_that_refuses(bad, empty):
    bad.write(empty.directory)
    outcome = empty.run(*TARGETS[bad.rule], overlays=[TINY, empty.overlay(bad.config)], cores=1)
    assert outcome.code != 0
    (line,) = said(outcome, "approxgrad:")
    assert line.startswith(f"approxgrad: {bad.rule} ")
    assert bad.says in line
    log = empty.directory / line.partition("(details: ")[2].rstrip(")")
    assert "Traceback" in log.read_text()
    for words in ("Traceback", "RuleException", "Error in rule", "WorkflowError"):
        assert words not in outcome.text
    endings = ("Exiting because a job execution failed", "Complete log", "Elapsed time")
    assert all(line.startswith(endings) for line in outcome.stderr.partition(f"{line}\n")[2].splitlines())
    assert not list(empty.directory.glob(OUTPUTS[bad.rule]))
    assert not list(empty.directory.glob("results/**/.*"))
    assert not (empty.directory / "executed").exists()
