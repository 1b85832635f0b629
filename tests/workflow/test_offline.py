"""A study whose data are embedded or there needs no network."""

import subprocess
import sys

import pytest

from running import without_network

pytestmark = pytest.mark.workflow

CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
"""To an address that is reserved for documentation, so that nobody is bothered where there is a network."""


@pytest.fixture(scope="module")
def cut_off():
    command = without_network()
    if not command:
        pytest.skip("this system does not let a process be cut off from the network")
    done = subprocess.run([*command, sys.executable, "-c", CONNECT], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in done.stderr
    return command


def test_the_tiny_study_ends_without_a_network(cut_off, tiny):
    # The fixture ran it so.
    assert (tiny.directory / "results" / "report" / "run.html").is_file()


@pytest.mark.soak
def test_the_default_study_ends_without_a_network(cut_off, empty):
    outcome = empty.run(within=cut_off)
    assert outcome.code == 0, outcome.text
    assert (empty.directory / "results" / "report" / "run.html").is_file()
