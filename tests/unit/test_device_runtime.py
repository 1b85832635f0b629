import logging
import os
import re
from types import SimpleNamespace

import pytest
import torch

from approxgrad.models.device import set_up_torch
from approxgrad.running.job import EXPLAINED, job, logger


@pytest.fixture
def restored_torch(monkeypatch):
    """Put torch's global settings back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = flags


@pytest.mark.parametrize(
    ("asked", "available", "given"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
@pytest.mark.usefixtures("restored_torch")
def test_the_device_is_what_was_asked_for_and_what_there_is(monkeypatch, asked, available, given):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert set_up_torch(asked, 1) == torch.device(given)


@pytest.mark.usefixtures("restored_torch")
def test_a_missing_gpu_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device: cuda was asked for, but torch finds no GPU; use cpu or auto$"):
        set_up_torch("cuda", 1)


@pytest.mark.usefixtures("restored_torch")
def test_torch_is_made_deterministic(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    set_up_torch("cpu", 2)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.get_num_threads() == 2
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.fixture
def fake(tmp_path):
    """What Snakemake gives to a script."""
    yield SimpleNamespace(
        rule="attribute",
        log=[str(tmp_path / "logs" / "cell.log")],
        wildcards={"dataset": "digits", "model": "cnn"},
        params={"step": 0.5},
    )
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def log_text(fake):
    with open(fake.log[0]) as file:  # noqa: PTH123 - as Snakemake gives it
        return file.read()


def test_a_job_logs_rule_parameters_messages_and_time(fake):
    with job(fake) as log:
        log.info("half way")
    text = log_text(fake)
    for part in ("rule attribute, wildcards {'dataset': 'digits', 'model': 'cnn'}", "'step': 0.5", "half way"):
        assert part in text
    assert "finished in" in text.splitlines()[-1]


@pytest.mark.parametrize(("summary", "said"), [("", ""), ("50 samples, 8,125/s", "50 samples, 8,125/s, ")])
def test_a_finished_job_is_one_line_on_the_terminal(fake, capfd, summary, said):
    with job(fake) as log:
        log.summary = summary
    captured = capfd.readouterr()
    assert re.fullmatch(rf"attribute digits/cnn: {said}\d+\.\d s\n", captured.err)
    assert captured.out == ""


def test_a_job_without_wildcards_is_named_after_its_rule(fake, capsys):
    fake.wildcards = {}
    with job(fake):
        pass
    assert capsys.readouterr().err.startswith("attribute: 0.")


def test_a_line_is_written_at_once(fake, monkeypatch):
    written = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    with job(fake):
        pass
    assert len(written) == 1
    assert written[0].endswith("s\n")


@pytest.mark.parametrize("error", [ValueError, TypeError, OSError, MemoryError])
def test_expected_errors_are_one_line_on_the_terminal_and_a_traceback_in_the_log(fake, capsys, error):
    with pytest.raises(SystemExit) as stopped, job(fake):
        raise error("step: got 0,\n  expected more")
    assert stopped.value.code == EXPLAINED
    said = capsys.readouterr().err
    assert said == (
        f"approxgrad: attribute dataset=digits, model=cnn: step: got 0, expected more (details: {fake.log[0]})\n"
    )
    assert "Traceback" in log_text(fake)


def test_an_error_without_text_is_named(fake, capsys):
    with pytest.raises(SystemExit), job(fake):
        raise MemoryError
    assert "model=cnn: MemoryError (details:" in capsys.readouterr().err


def test_faults_of_the_package_keep_their_traceback(fake, capsys):
    with pytest.raises(SystemExit) as stopped, job(fake):
        raise KeyError("fault")
    assert stopped.value.code == 1
    assert "Traceback" in capsys.readouterr().err
    assert "KeyError: 'fault'" in log_text(fake)
