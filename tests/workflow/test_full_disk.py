"""A disk that is full or read-only stops a job with one line, and leaves no half file behind."""

import os
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from torch import nn

from approxgrad.evaluation.frames import write_both
from approxgrad.models.saved import save_model
from approxgrad.storage.splits import Split, write_split
from approxgrad.storage.tables import write_table
from running import TINY

NOISE = np.random.default_rng(0).normal(size=(500, 100)).astype(np.float32)
WRITERS = {
    "x.parquet": lambda path: write_table(path, pa.table({"x": NOISE.reshape(-1)}), {}),
    "split.parquet": lambda path: write_split(path, Split(NOISE, NOISE[:, 0], feature_shape=(100,)), {}),
    "weights.safetensors": lambda path: save_model(path, nn.Linear(200, 200), {}),
    "x.csv": lambda path: write_both(pd.DataFrame(NOISE), path.with_suffix(".parquet"), path, {}),
}


@pytest.fixture
def mount():
    """Put a small file system of its own at a folder, and take it away again."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system of 64 KiB")
    mounted = []

    def put(folder, options):
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield put
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("options", "reason"),
    [("size=64k", "No space left on device"), ("ro", "Read-only file system")],
    ids=["full", "ro"],
)
def test_a_file_that_cannot_be_written_is_named_and_not_there(mount, tmp_path, name, options, reason):
    disk = mount(tmp_path / "disk", options)
    with pytest.raises(OSError, match=rf"^{disk}/{name.partition('.')[0]}\.\w+: cannot be written \({reason}\)$"):
        WRITERS[name](disk / name)
    assert not list(disk.iterdir())


@pytest.mark.soak
@pytest.mark.workflow
def test_a_full_disk_is_one_line_of_a_job(mount, empty):
    mount(empty.directory / "data", "size=16k")
    rows = {"train": 700, "validation": 2, "test": 20}
    overlay = empty.overlay({"datasets": {"synthetic_linear": {"rows": rows}}})
    outcome = empty.run("data/synthetic_linear/test.parquet", overlays=[TINY, overlay])
    assert outcome.code != 0
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("approxgrad:")]
    assert "data/synthetic_linear/train.parquet: cannot be written (No space left on device)" in line
    assert "Traceback" not in outcome.text
    assert not [path for path in (empty.directory / "data").rglob("*") if path.is_file()]
