import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.api import Workflow

from approxgrad.running import lock
from approxgrad.running.lock import CHANGING, OWNER, SNAKEMAKE_LOCKS, RunLockError, hold, let_go, run_alone
from approxgrad.storage.files import write_atomically
from approxgrad.study import grid


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lock, "_held", [])
    return tmp_path


def killed_run(**owner):
    """Leave behind what a killed run does: its record, Snakemake's locks and an unfinished file."""
    SNAKEMAKE_LOCKS.mkdir(parents=True)
    (SNAKEMAKE_LOCKS / "0.output.lock").write_text("results/a\n")
    OWNER.write_text(json.dumps({"host": socket.gethostname(), "process": 7} | owner))
    half = Path("results/.part-0.unfinished-abc.parquet")
    half.parent.mkdir()
    half.write_text("")
    return half


def test_a_killed_run_leaves_nothing_in_the_way():
    half = killed_run()
    assert hold().startswith("another run (process 7, host ")
    assert not SNAKEMAKE_LOCKS.exists()
    assert not half.exists()
    assert json.loads(OWNER.read_text())["process"] == os.getpid()


def test_a_run_that_ended_by_itself_is_not_called_killed():
    assert hold() == ""
    let_go()
    assert OWNER.read_text() == ""
    lock._held[0].close()
    assert hold() == ""


def test_a_record_that_was_not_finished_counts_as_that_of_a_killed_run():
    killed_run()
    OWNER.write_text('{"host": ')
    assert hold() == "another run (host " + socket.gethostname() + ") was killed; going on where it stopped"


def test_the_locks_of_another_computer_stay_until_the_user_removes_them():
    half = killed_run(host="elsewhere")
    before = OWNER.read_text()
    with pytest.raises(RunLockError, match=r"^another run \(process 7, host elsewhere\) has not ended .*--unlock$"):
        hold()
    assert (SNAKEMAKE_LOCKS / "0.output.lock").exists()
    assert half.exists()
    assert OWNER.read_text() == before
    (SNAKEMAKE_LOCKS / "0.output.lock").unlink()
    assert hold().startswith("another run (process 7, host elsewhere) was killed")


def test_a_living_run_keeps_others_out_and_a_killed_one_does_not():
    code = (
        "import sys, time; from approxgrad.running.lock import hold; hold(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunLockError, match=rf"^another run \(process {other.pid}, .*\) is at work in this folder"):
            hold()
        other.kill()
    assert hold().startswith(f"another run (process {other.pid}, ")


def test_a_holder_that_has_not_written_its_record_yet_gets_a_moment_to_do_so():
    code = (
        "import fcntl, json, pathlib, time; path = pathlib.Path('.snakemake/approxgrad.run'); path.parent.mkdir();"
        "file = path.open('a+'); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(0.5);"
        "file.write(json.dumps({'process': 8})); file.flush(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunLockError, match=r"^another run \(process 8\) is at work"):
            hold()
        other.kill()


def test_a_run_that_is_just_ending_is_waited_for():
    code = (
        "import time; from approxgrad.running.lock import hold, let_go; hold(); let_go(); print('held', flush=True);"
        "time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert hold() == ""


def test_a_job_ends_with_the_process_that_started_it():
    code = "import time; from approxgrad.running.lock import end_with_run; end_with_run(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as run:
        environment = os.environ | {lock.RUN_VARIABLE: str(run.pid)}
        with subprocess.Popen([sys.executable, "-c", code], env=environment) as job:
            with pytest.raises(subprocess.TimeoutExpired):
                job.wait(timeout=3 * lock.WATCH_SECONDS)
            run.kill()
            run.wait()
            assert job.wait(timeout=20) == 1


def plugin(*, dry):
    return {"executor_plugin": SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=dry))}


@pytest.fixture
def called(monkeypatch):
    """Returns the owner of the lock while a method of Snakemake's workflow runs, and what was said of a killed run."""
    monkeypatch.setattr(lock.atexit, "register", lambda function: None)

    def call(name, lock=True, **options):
        remarks, workflow = [], SimpleNamespace(execution_settings=SimpleNamespace(lock=lock))
        for other in [*CHANGING, "unlock", "summary"]:
            setattr(workflow, other, lambda **given: OWNER.exists() and OWNER.read_text())
        run_alone(workflow, remarks.append)
        return getattr(workflow, name)(**options), remarks

    return call


@pytest.mark.parametrize("name", CHANGING)
def test_what_changes_files_is_done_alone(called, name):
    assert callable(getattr(Workflow, name))
    owner, remarks = called(name, **(plugin(dry=False) if name == "execute" else {}))
    assert json.loads(owner)["process"] == os.getpid()
    assert remarks == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unlock", {}),
        ("summary", {}),
        ("execute", plugin(dry=True)),
        ("delete_output", {"dryrun": True}),
        ("execute", {"lock": False, **plugin(dry=False)}),
    ],
    ids=["unlock", "summary", "dry run", "dry deletion", "no lock"],
)
def test_what_changes_nothing_is_always_allowed(called, name, options):
    half = killed_run()
    before = OWNER.read_text()
    assert called(name, **options) == (before, [])
    assert half.exists()


def test_a_run_after_a_killed_one_says_so_and_one_beside_another_ends_in_one_line(called):
    killed_run(host="elsewhere")
    with pytest.raises(SystemExit, match=r"^approxgrad: another run \(process 7, host elsewhere\) has not ended"):
        called("execute", **plugin(dry=False))
    (SNAKEMAKE_LOCKS / "0.output.lock").unlink()
    _, (remark,) = called("execute", **plugin(dry=False))
    assert remark.startswith("another run (process 7, host elsewhere) was killed")


def test_a_file_that_is_being_written_is_hidden_and_its_leftover_recognised():
    names = []
    write_atomically(Path("results/part-0.parquet"), lambda path: names.append(path.name))
    assert names[0].startswith(".part-0.unfinished-")
    assert names[0].endswith(".parquet")
    assert [path.name for path in Path("results").iterdir()] == ["part-0.parquet"]


def test_only_shards_that_were_gathered_are_removed():
    keys = "dataset=a/model=b/method=c/gradient={}"
    for gradient, order in (("old", ["shard", "cell"]), ("new", ["cell", "shard"]), ("open", ["shard"])):
        for time, kind in enumerate(order, start=1):
            top = "results/shards/attributions" if kind == "shard" else "results/attributions"
            folder = Path(top, keys.format(gradient))
            folder.mkdir(parents=True)
            path = folder / ("shard-1-of-2.parquet" if kind == "shard" else "part-0.parquet")
            path.write_text("")
            os.utime(path, (time, time))
    grid.remove_gathered_shards()
    left = sorted(path.parent.name for path in Path("results/shards").rglob("*.parquet"))
    assert left == ["gradient=new", "gradient=open"]
    assert len(list(Path("results/attributions").rglob("*.parquet"))) == 2
