"""What is shown on the terminal while a study runs, and what is said at its end."""

import inspect
import logging
from collections import Counter
from subprocess import CalledProcessError

import pytest
from snakemake.exceptions import MissingOutputException, RuleException, WorkflowError, print_exception
from snakemake.scheduling.job_scheduler import JobScheduler

from approxgrad.running.job import EXPLAINED
from approxgrad.running.terminal import SCHEDULING, QuietJobs, Run

JOB = {"event": "job_info", "jobid": 3, "rule_name": "train_model", "wildcards": {"dataset": "d", "model": "m"}}
BLOCK = {"event": "job_error", "jobid": 3, "rule_name": "train_model"}
NAMED = "approxgrad: train_model dataset=d, model=m: "


def record(text="", level=logging.INFO, **extra):
    message = logging.LogRecord("snakemake.logging", level, "", 0, text, None, None)
    message.__dict__.update(extra)
    return message


class Terminal(logging.Handler):
    """Snakemake's terminal, with what it has shown; failures are logged by Snakemake's own code."""

    def __init__(self):
        super().__init__()
        self.quiet = QuietJobs()
        self.addFilter(self.quiet)
        self.shown = []

    def emit(self, message):
        self.shown.append(message.getMessage())

    def failed(self, status, block=True):
        """A script ends with a status, as Snakemake reports it."""
        try:
            try:
                raise CalledProcessError(status, "python script")
            except CalledProcessError as error:
                raise RuleException(str(error))  # noqa: B904 - Snakemake does so too
        except RuleException as error:
            print_exception(error)
        if block:
            self.handle(record("Error in rule train_model", logging.ERROR, **BLOCK))

    def raised(self, error):
        try:
            raise error
        except (WorkflowError, RuleException) as raised:
            print_exception(raised)


@pytest.fixture
def terminal():
    own, logger = Terminal(), logging.getLogger("snakemake.logging")
    logger.addHandler(own)
    yield own
    logger.removeHandler(own)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (record("rule attribute:", event="job_info"), False),
        (record("Execute 2 jobs...", event="job_started"), False),
        (record("Finished jobid: 1", event="job_finished"), False),
        (record("Select jobs to execute...", module=SCHEDULING[0], funcName=SCHEDULING[1]), False),
        (record("Stopping", logging.ERROR, module=SCHEDULING[0], funcName=SCHEDULING[1]), True),
        (record("Error in rule attribute", logging.ERROR, event="job_error"), True),
        (record("careful", logging.WARNING, event="job_info"), True),
        (record("Job stats:", event="run_info"), True),
        (record("Complete log(s): file"), True),
    ],
    ids=lambda value: value.msg if isinstance(value, logging.LogRecord) else "",
)
def test_only_repeated_messages_are_left_out(message, shown):
    assert QuietJobs().filter(message) is shown


def test_snakemake_says_in_this_function_that_it_selects_jobs():
    module = inspect.getmodule(JobScheduler).__name__.rpartition(".")[2]
    assert (module, JobScheduler.schedule.__name__) == SCHEDULING
    assert "Select jobs to execute" in inspect.getsource(JobScheduler.schedule)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "was ended by SIGKILL, most often because memory ran out: run fewer jobs at once"),
        (137, "was ended by SIGKILL, most often because memory ran out: run fewer jobs at once"),
        (-11, "was ended by SIGSEGV, a crash in compiled code"),
        (-10, "was ended by SIGUSR1 (details"),
        (3, "ended with status 3 and without a message, as after os._exit"),
        (1, "ended with status 1 and without a message, as after os._exit"),
    ],
)
def test_a_job_that_cannot_say_why_it_failed_is_one_line(terminal, capsys, tmp_path, status, words):
    log = tmp_path / "job.log"
    log.write_text("... INFO rule train_model\n")
    terminal.handle(record(log=[str(log)], **JOB))
    terminal.failed(status)
    assert terminal.shown == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{NAMED}{words}")
    assert line.endswith(f"(details: {log})")


def test_a_job_that_has_explained_its_error_is_not_mentioned_again(terminal, capsys):
    terminal.failed(EXPLAINED)
    assert terminal.shown == []
    assert capsys.readouterr().err == ""
    # The next one has not.
    terminal.handle(record("Error in rule train_model", logging.ERROR, **BLOCK))
    assert terminal.shown == ["Error in rule train_model"]


def test_a_job_that_has_shown_its_traceback_keeps_what_snakemake_says(terminal, capsys, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("... ERROR failed\nTraceback\n")
    terminal.handle(record(log=[str(log)], **JOB))
    terminal.failed(1)
    assert terminal.shown == ["Error in rule train_model"]
    assert "returned non-zero exit status 1." in capsys.readouterr().err


def test_a_job_that_ends_as_if_all_were_well_without_results_is_one_line(terminal, capsys):
    terminal.handle(record(log=["logs/job.log"], **JOB))
    terminal.raised(MissingOutputException("Missing files after 5 seconds.", jobid=3))
    assert terminal.shown == []
    assert capsys.readouterr().err == (
        f"{NAMED}ended without its results and without a message, as after os._exit (details: logs/job.log)\n"
    )


@pytest.mark.parametrize("status", [EXPLAINED, -9])
def test_the_end_of_the_run_repeats_no_failure_that_is_explained(terminal, status):
    final = WorkflowError("At least one job did not complete successfully.")
    terminal.raised(final)
    assert len(terminal.shown) == 1
    terminal.failed(status)
    terminal.raised(WorkflowError("another fault"))
    assert len(terminal.shown) == 2
    terminal.quiet.over = True
    terminal.raised(final)
    terminal.handle(record("Exiting because a job execution failed.", logging.ERROR))
    assert len(terminal.shown) == 3


def test_the_end_of_the_run_is_told_if_a_failure_is_not_explained(terminal):
    terminal.quiet.over = True
    terminal.raised(WorkflowError("At least one job did not complete successfully."))
    assert len(terminal.shown) == 1


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
    (quiet,) = terminal.filters
    assert isinstance(quiet, QuietJobs)
    assert not file.filters
    run.fail()
    assert quiet.over


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
    run.end([tmp_path / "results" / "figures" / "old.svg"])
    said = capsys.readouterr().err
    assert said.startswith("Finished in 0 min 0 s. Files written:\n")
    assert "  results/figures/       2\n" in said
    assert "results/summary/" in said
    assert "--report report.html" in said
    assert said.splitlines()[-1].startswith("1 file here belongs to other configurations. ")


def test_a_run_that_wrote_nothing_says_nothing(run, capsys):
    run.end()
    assert capsys.readouterr().err == ""
