"""What is installed: pinned by hash, within the stated ranges, under known licences, without known vulnerabilities."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "docs"))

import licences  # noqa: E402

from extras import PROJECT, required  # noqa: E402

LOCK = (REPOSITORY / "requirements.lock").read_text()
ENTRIES = [entry.strip() for entry in LOCK.replace("\\\n", " ").splitlines() if entry.strip()]
PINS = [Requirement(entry.split(" --hash=")[0]) for entry in ENTRIES]
AUDIT_REFUSED = "ConnectionError|Max retries|Name or service|timed out|Failed to establish|ServiceError"


def test_every_requirement_is_pinned_with_hashes():
    assert len(ENTRIES) > 100
    for entry, pin in zip(ENTRIES, PINS, strict=True):
        hashes = re.findall(r"--hash=(\S+)", entry)
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in hashes), pin.name
        (specifier,) = pin.specifier
        assert specifier.operator == "==", entry
        assert "*" not in specifier.version, entry


def test_the_lock_names_no_address():
    assert not re.search(r"https?:|://|--(extra-)?index|--find-links|@", LOCK)


def test_pins_are_within_the_ranges_of_the_package():
    pinned = {}
    for pin in PINS:
        pinned.setdefault(canonicalize_name(pin.name), []).append(next(iter(pin.specifier)).version)
    wanted = list(map(Requirement, required("dev")))
    assert {"torch", "onnxruntime", "xgboost", "tritonclient", "pandas", "ruff"} <= {each.name for each in wanted}
    for requirement in wanted:
        versions = pinned[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_development_needs_what_every_extra_brings_but_a_queue_and_a_site():
    extras = set(PROJECT["optional-dependencies"]) - {"slurm", "docs"}
    assert required("dev") == required(*extras)


def rows():
    lines = licences.PAGE.read_text().splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[lines.index("|---|---|---|") + 1 :]}


def test_every_locked_package_stands_with_its_licence():
    names = licences.locked()
    assert list(rows()) == names
    # A package for another system, or one that is not installed, cannot be asked.
    now = {line.split(" | ")[0].removeprefix("| "): line for line in licences.page(names).splitlines()[9:]}
    assert {name: line for name, line in now.items() if licences.ELSEWHERE not in line}.items() <= rows().items()


def test_a_licence_that_is_not_foreseen_is_refused():
    assert licences.remark("new", ["MIT", "Zlib"]) == ""
    assert "proprietary" in licences.remark("nvidia-new", ["NVIDIA proprietary"])
    for unknown in (["AGPL-3.0-only"], ["MIT", "GPL"], [licences.UNSTATED]):
        with pytest.raises(ValueError, match=r"new: licence is .* expected one of 0BSD, Apache-2\.0"):
            licences.remark("new", unknown)


def test_exceptions_are_still_needed():
    assert set(licences.EXCEPTIONS) <= set(licences.locked())
    for name in licences.EXCEPTIONS:
        assert not set(licences.licence(name)) <= licences.PERMISSIVE, name


@pytest.mark.soak
def test_no_vulnerability_of_a_pinned_version_is_known():
    if importlib.util.find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed")
    command = [sys.executable, "-m", "pip_audit", "--requirement", REPOSITORY / "requirements.lock"]
    done = subprocess.run([*command, "--disable-pip", "--require-hashes"], capture_output=True, text=True, check=False)
    if done.returncode and re.search(AUDIT_REFUSED, done.stderr):
        pytest.skip(f"the service cannot be asked: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
