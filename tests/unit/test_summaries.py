import logging
from collections import Counter

import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.running.summaries import (
    QuietJobs,
    Run,
    attribution_summary,
    evaluation_summary,
    gathering_summary,
    measures_summary,
    training_summary,
)


def test_an_attribution_is_summed_up_by_its_cost():
    metadata = {"model_evaluations": 3250, "step": 0.01, "lost_steps": 0}
    assert attribution_summary(50, metadata, 0.4) == "50 samples, 3,250 evaluations, 8,125/s"
    exact = metadata | {"step": None, "model_evaluations": 1000}
    assert attribution_summary(1200, exact, 0.4) == "1,200 samples, 1,000 forward and backward passes, 2,500/s"
    assert attribution_summary(0, metadata | {"model_evaluations": 0}, 0.0) == "0 samples, 0 evaluations"
    assert gathering_summary(3, metadata) == "3 shards, 3,250 evaluations"


def test_lost_steps_are_told():
    metadata = {"model_evaluations": 3250, "step": 0.01, "lost_steps": 1234}
    lost = "1,234 derivatives lost to rounding"
    assert attribution_summary(50, metadata, 0.4) == f"50 samples, 3,250 evaluations, 8,125/s, {lost}"
    assert gathering_summary(3, metadata) == f"3 shards, 3,250 evaluations, {lost}"


def curves(metric, best):
    rows = [
        (epoch, split, metric, epoch / 4, epoch == best) for epoch in (1, 2, 3) for split in ("train", "validation")
    ]
    loss = [(epoch, "validation", "loss", 9.0, epoch == best) for epoch in (1, 2, 3)]
    return pd.DataFrame([*loss, *rows], columns=["epoch", "split", "metric", "value", "best"])


@pytest.mark.parametrize(
    ("metric", "best", "text"),
    [("accuracy", 2, "3 epochs, validation accuracy 0.500"), ("r2", 3, "3 epochs, validation R2 0.750")],
)
def test_a_training_is_summed_up_by_its_best_epoch(metric, best, text):
    assert training_summary(curves(metric, best)) == text


def test_a_single_epoch_is_singular():
    one = curves("accuracy", 1)
    assert training_summary(one[one["epoch"] == 1]) == "1 epoch, validation accuracy 0.250"


def test_measures_are_accuracy_or_r2():
    assert measures_summary({"loss": 1.0, "accuracy": 0.97}) == "accuracy 0.970"
    assert measures_summary({"loss": 1.0, "root_mean_squared_error": 2.0, "r2": -0.5}) == "R2 -0.500"


def table(*rows):
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("gradient", "reference", "relative_error"), map(list, columns), strict=True)))


def test_an_evaluation_is_summed_up_by_its_smallest_median_error():
    large = [("forward-h1", "exact", error) for error in (0.2, 0.3, 0.1)]
    small = [("forward-h0.1", "exact", error) for error in (0.02, 0.9, 0.01, None)]
    truth = [("forward-h0.1", "truth", 0.0)]
    assert evaluation_summary(table(*large)) == "median relative error 0.2 (forward-h1)"
    both = "median relative error 0.02 (forward-h0.1, the smallest)"
    assert evaluation_summary(table(*large, *small, *truth)) == both
    assert evaluation_summary(table(("forward-h1", "exact", None))) == "no relative error is defined"


def record(text="", level=logging.INFO, **extra):
    message = logging.LogRecord("snakemake.logging", level, "", 0, text, None, None)
    message.__dict__.update(extra)
    return message


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (record("rule attribute:", event="job_info"), False),
        (record("Execute 2 jobs...", event="job_started"), False),
        (record("Finished jobid: 1", event="job_finished"), False),
        (record("Select jobs to execute..."), False),
        (record("Error in rule attribute", logging.ERROR, event="job_error"), True),
        (record("careful", logging.WARNING, event="job_info"), True),
        (record("Job stats:", event="run_info"), True),
        (record("Complete log(s): file"), True),
    ],
    ids=lambda value: value.msg if isinstance(value, logging.LogRecord) else "",
)
def test_only_repeated_messages_are_left_out(message, shown):
    assert QuietJobs().filter(message) is shown


JOB = {"event": "job_info", "jobid": 3, "rule_name": "train_model", "wildcards": {"dataset": "d", "model": "m"}}
FAILED = {"event": "job_error", "jobid": 3, "rule_name": "train_model"}
COMMAND = "RuleException:\nCalledProcessError in file x, line 1:\nCommand 'python script' "
MISSING = (
    "MissingOutputException in rule train_model in file x, line 1:\n"
    "Job 3  completed successfully, but some output files are missing. Missing files after 5 seconds."
)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("died with <Signals.SIGKILL: 9>.", "was ended by SIGKILL, most often because memory ran out: run fewer jobs"),
        (
            "returned non-zero exit status 137.",
            "was ended by SIGKILL, most often because memory ran out: run fewer jobs",
        ),
        ("died with <Signals.SIGSEGV: 11>.", "was ended by SIGSEGV, a crash in compiled code"),
        ("died with <Signals.SIGUSR1: 10>.", "was ended by SIGUSR1 (details"),
        ("returned non-zero exit status 3.", "ended with status 3 and without a message, as after os._exit"),
        ("returned non-zero exit status 1.", "ended with status 1 and without a message, as after os._exit"),
    ],
)
def test_a_job_that_cannot_say_why_it_failed_is_one_line(capsys, tmp_path, how, words):
    log = tmp_path / "job.log"
    log.write_text("... INFO rule train_model\n")
    quiet = QuietJobs()
    quiet.filter(record(log=[str(log)], **JOB))
    shown = [quiet.filter(record(COMMAND + how, logging.ERROR)), quiet.filter(record("", logging.ERROR, **FAILED))]
    assert shown == [False, False]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"approxgrad: train_model dataset=d, model=m: {words}")
    assert line.endswith(f"(details: {log})")
    assert not quiet.filter(record("WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR))


def test_a_job_that_has_shown_its_traceback_keeps_what_snakemake_says(capsys, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("... ERROR failed\nTraceback\n")
    quiet = QuietJobs()
    quiet.filter(record(log=[str(log)], **JOB))
    message = f"{COMMAND}returned non-zero exit status 1."
    assert not quiet.filter(record(message, logging.ERROR))
    assert quiet.filter(record("", logging.ERROR, **FAILED))
    assert capsys.readouterr().err == f"{message}\n"


def test_a_job_that_ends_as_if_all_were_well_without_results_is_one_line(capsys):
    quiet = QuietJobs()
    quiet.filter(record(log=["logs/job.log"], **JOB))
    assert not quiet.filter(record(MISSING, logging.ERROR))
    assert capsys.readouterr().err == (
        "approxgrad: train_model dataset=d, model=m: ended without its results and without a message, "
        "as after os._exit (details: logs/job.log)\n"
    )


def test_a_training_that_had_to_stop_or_cannot_be_measured_says_so():
    said = training_summary(curves("accuracy", 2), "the validation loss is nan in epoch 4", float("inf"))
    assert said == (
        "3 epochs, stopped because the validation loss is nan in epoch 4, the best epoch is kept, validation accuracy "
        "0.500, the test loss is inf because outputs for some test rows are not finite"
    )


def test_progress_is_shown_every_fifth_percent():
    quiet = QuietJobs()
    shown = [done for done in range(1, 101) if quiet.filter(record(event="progress", done=done, total=100))]
    assert shown == list(range(5, 101, 5))


@pytest.fixture
def messages(tmp_path):
    """Snakemake's logger with its terminal and its file."""
    logger = logging.Logger("snakemake")
    logger.addHandler(logging.StreamHandler())
    logger.addHandler(logging.FileHandler(tmp_path / "run.log"))
    yield logger
    logger.handlers[1].close()


def write(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")


@pytest.fixture
def run(tmp_path, monkeypatch, messages):
    """A run that has begun in a folder with older files."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "data/a/test.parquet", "results/figures/old.svg", "results/summary/models.csv")
    begun = Run()
    begun.begin(messages, verbose=False)
    return begun


def test_the_terminal_is_quieter_but_the_log_file_is_not(run, messages):
    terminal, file = messages.handlers
    assert [type(each) for each in terminal.filters] == [QuietJobs]
    assert not file.filters


def test_a_verbose_run_shows_everything(messages):
    Run().begin(messages, verbose=True)
    assert not messages.handlers[0].filters


def test_new_and_replaced_files_are_counted(run, tmp_path, capsys):
    write(tmp_path, "data/b/test.parquet", "results/figures/m/new.svg", "results/figures/m/new.png")
    write(tmp_path, "results/.hidden", "logs/other.log", "results/summary/.models-temporary.csv")
    old = tmp_path / "results" / "summary" / "models.csv"
    old.unlink()
    write(tmp_path, "results/summary/models.csv")
    assert run.written() == Counter({"data": 1, "results/figures": 2, "results/summary": 1})
    run.end()
    said = capsys.readouterr().err
    assert said.startswith("Finished in 0 min 0 s. Files written:\n")
    assert "  results/figures/       2\n" in said
    assert "results/summary/" in said
    assert "--report report.html" in said


def test_a_run_that_wrote_nothing_says_nothing(run, capsys):
    run.end()
    assert capsys.readouterr().err == ""
