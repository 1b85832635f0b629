"""What the plan of a study says."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from approxgrad.planning import plan as planning
from approxgrad.planning.calibration import CalibrationError
from approxgrad.planning.durations import duration
from approxgrad.planning.evaluations import Inputs, evaluations
from approxgrad.planning.job_table import JobListError, OutputFile
from approxgrad.planning.plan import described, make_plan
from approxgrad.steps.search import most_evaluations
from approxgrad.study.study import Study
from planned_studies import (
    CALIBRATION,
    DEFAULT,
    FORWARD,
    INPUTS,
    MODEL_RULES,
    OUTPUTS,
    SPEED,
    files,
    study,
)


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
