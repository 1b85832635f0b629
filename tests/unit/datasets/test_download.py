import hashlib
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from approxgrad.datasets import download as module
from approxgrad.datasets.download import DownloadError, download
from loopback import served

CONTENT = np.random.default_rng(0).bytes(200_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site():
    with served(CONTENT) as (site, address):
        site.address = address
        yield site


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "file.tar.gz"


def fetch(target, *addresses, md5=MD5, retries=1, timeout=5):
    download(addresses, target, md5, retries=retries, timeout=timeout)


def part(target):
    return target.with_name(f".{target.name}.part")


def assert_complete(target):
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def assert_refused(target, expected, *addresses, **options):
    with pytest.raises(DownloadError, match=expected) as failure:
        fetch(target, *addresses, **options)
    assert "\n" not in str(failure.value)
    assert not target.exists()
    return str(failure.value)


# It arrives


@pytest.mark.parametrize("name", ["whole", "to_whole"])
def test_a_file_is_downloaded(target, site, name):
    fetch(target, f"{site.address}/{name}", md5=MD5.upper())
    assert_complete(target)
    assert site.requests == [name, "whole"][: 1 + (name == "to_whole")]


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
def test_a_local_file_is_copied(target, tmp_path, form):
    (tmp_path / "a file").write_bytes(CONTENT)
    fetch(target, form.format(path=tmp_path / "a file"))
    assert_complete(target)
    assert (tmp_path / "a file").exists()


def test_mirrors_are_tried_in_order(target, site):
    names = ["missing", "corrupt", "busy", "whole", "other"]
    fetch(target, *(f"{site.address}/{name}" for name in names))
    assert_complete(target)
    assert site.requests == ["missing", "corrupt", "busy", "busy", "whole"]


def test_a_broken_transfer_is_repeated(target, site):
    fetch(target, f"{site.address}/flaky")
    assert_complete(target)
    assert site.requests == ["flaky", "flaky"]


def test_what_an_earlier_call_left_is_not_trusted(target, site):
    part(target).parent.mkdir()
    part(target).write_bytes(CONTENT[:70_000] + b"x" * len(CONTENT))
    fetch(target, f"{site.address}/whole")
    assert_complete(target)


# It does not arrive


def test_a_wrong_checksum_names_both_sums_and_the_address(target, site):
    wrong = hashlib.md5(b"x" * len(CONTENT)).hexdigest()
    address = f"{site.address}/corrupt"
    message = assert_refused(target, re.escape(f"{address}: the MD5 sum is {wrong}, expected {MD5}"), address)
    assert message.startswith("file.tar.gz could not be downloaded: ")
    assert not list(target.parent.iterdir())
    assert len(site.requests) == 1


def test_a_wrong_local_file_is_refused_and_stays(target, tmp_path):
    (tmp_path / "file").write_bytes(b"something else")
    assert_refused(target, "the MD5 sum is", str(tmp_path / "file"))
    assert not list(target.parent.iterdir())
    assert (tmp_path / "file").read_bytes() == b"something else"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "/missing: the server answers 404 Not Found$"),
        ("busy", "/busy: the server answers 503 Service Unavailable, after 2 attempts$"),
        ("truncated", r"/truncated: the transfer failed \(.*100000 more expected.*\), after 2 attempts$"),
        ("to_file", r"/to_file: the transfer failed \(.*file:///etc/hostname.*\)$"),
        ("to_ftp", r"/to_ftp: the transfer failed \(.*ftp://127.0.0.1/x.*\)$"),
    ],
)
def test_faults_of_a_server_are_told(target, site, name, expected):
    assert_refused(target, re.compile(expected, re.IGNORECASE), f"{site.address}/{name}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("silent", "silent: no data for 0.4 s, after 2 attempts"),
        ("stalled", "stalled: no data for 0.4 s, after 2 attempts"),
    ],
)
def test_a_server_that_stalls_does_not_hold_the_download_up(target, site, name, expected):
    start = time.monotonic()
    assert_refused(target, expected, f"{site.address}/{name}", timeout=0.4)
    assert time.monotonic() - start < 5
    assert not list(target.parent.iterdir())
    fetch(target, f"{site.address}/{name}", f"{site.address}/whole", timeout=0.4)
    assert_complete(target)


def test_an_address_without_server_is_told(target):
    assert_refused(
        target, r"http://127.0.0.1:9/x: the transfer failed \(.*refused.*\), after 2", "http://127.0.0.1:9/x"
    )


def test_missing_local_files_are_told(target, tmp_path):
    assert_refused(target, f"{tmp_path}/x: no such file; {tmp_path}: cannot be copied", f"{tmp_path}/x", str(tmp_path))


# It is killed


def test_a_killed_download_leaves_no_file_of_the_final_name(target, site):
    code = f"""
from pathlib import Path
from approxgrad.datasets.download import download
download(["{site.address}/slow"], Path("{target}"), "{MD5}", retries=0, timeout=5)
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"no_proxy": "127.0.0.1"})
    try:
        deadline = time.monotonic() + 15
        while not part(target).exists() or part(target).stat().st_size < 10_000:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait(10)
    assert list(target.parent.iterdir()) == [part(target)]
    fetch(target, f"{site.address}/whole")
    assert_complete(target)
    assert site.requests == ["slow", "whole"]
