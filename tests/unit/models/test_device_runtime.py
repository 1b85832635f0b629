import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
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
def test_a_gpu_that_is_made_to_compute_in_tf32_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with pytest.raises(ValueError, match=r"^device: NVIDIA_TF32_OVERRIDE=1 makes .* unset it, or use device: cpu$"):
        set_up_torch("auto", 1)
    assert set_up_torch("cpu", 1) == torch.device("cpu")


@pytest.mark.usefixtures("restored_torch")
def test_of_several_gpus_a_process_takes_the_next_free_one(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda own: SimpleNamespace(uuid=f"uuid-{own}"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda own: None)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert [set_up_torch("auto", 1) for _ in range(3)] == [torch.device(own) for own in ("cuda:0", "cuda:1", "cuda:0")]


@pytest.mark.usefixtures("restored_torch")
def test_torch_is_made_deterministic(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    set_up_torch("cpu", 2)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.get_num_threads() == 2
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    set_up_torch("auto", 2)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize(
    ("device", "threads", "gpu", "refuses"),
    [("cpu", 1, False, False), ("auto", 1, False, False), ("cpu", 1, True, False), ("auto", 1, True, True)],
)
@pytest.mark.usefixtures("restored_torch")
def test_one_thread_of_a_cpu_is_deterministic_by_itself(monkeypatch, device, threads, gpu, refuses):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    set_up_torch(device, threads)
    assert torch.are_deterministic_algorithms_enabled() == refuses


@pytest.fixture
def fake(tmp_path):
    """What Snakemake gives to a script."""
    yield SimpleNamespace(
        input={},
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
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append, flush=lambda: None, isatty=lambda: False))
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


def test_an_operation_that_torch_refuses_comes_with_what_helps(fake, capsys):
    with pytest.raises(SystemExit), job(fake):
        raise ValueError("model: fails (RuntimeError: x_cpu_ does not have a deterministic implementation)")
    assert "implementation); with device: cpu and threads: 1 in the configuration every" in capsys.readouterr().err


def test_an_error_without_text_is_named(fake, capsys):
    with pytest.raises(SystemExit), job(fake):
        raise MemoryError
    assert "model=cnn: MemoryError (details:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(), "SystemExit()"),
        (SystemExit("bye"), "SystemExit(bye)"),
        (SystemExit(0), "SystemExit(0)"),
        (KeyboardInterrupt(), "KeyboardInterrupt()"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_code_that_ends_the_process_is_one_line(fake, capsys, error, said):
    with pytest.raises(SystemExit) as stopped, job(fake):
        raise error
    assert stopped.value.code == EXPLAINED
    assert f"model=cnn: {said} ended it, which the code of a network or" in capsys.readouterr().err


def test_an_interruption_by_a_person_is_none_of_the_codes(fake, capsys, monkeypatch):
    monkeypatch.setattr("approxgrad.running.endings._interrupts", [])
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), job(fake):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capsys.readouterr().err == ""


LINGERING = """
import sys, threading, time
from types import SimpleNamespace
from approxgrad.running import endings
from approxgrad.running.job import job

endings.GRACE_SECONDS = 0.1
with job(SimpleNamespace(rule="train_model", log=[sys.argv[1]], wildcards={"model": "own"}, params={}, input={})):
    threading.Thread(target=time.sleep, args=(600,), name="worker").start()
    if sys.argv[2] == "fails":
        raise ValueError("step: wrong")
"""


@pytest.mark.parametrize(("ending", "status"), [("ends", 0), ("fails", EXPLAINED)])
def test_a_thread_that_never_ends_does_not_keep_a_job_that_is_done(tmp_path, ending, status):
    command = [sys.executable, "-c", LINGERING, str(tmp_path / "log"), ending]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status
    first, second = done.stderr.splitlines()
    assert first.startswith("train_model own: " if status == 0 else "approxgrad: train_model model=own: step: wrong")
    assert second == (
        "approxgrad: train_model model=own: is done, but worker of the code that it called did not end and was stopped"
    )


def test_a_crash_leaves_where_it_was_in_the_log(tmp_path):
    code = LINGERING.replace("threading.Thread(target", "import ctypes; ctypes.string_at(0); print(target")
    command = [sys.executable, "-c", code, str(tmp_path / "log"), "ends"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in (tmp_path / "log").read_text()


def test_faults_of_the_package_keep_their_traceback(fake, capsys):
    with pytest.raises(SystemExit) as stopped, job(fake):
        raise KeyError("fault")
    assert stopped.value.code == 1
    assert "Traceback" in capsys.readouterr().err
    assert "KeyError: 'fault'" in log_text(fake)
