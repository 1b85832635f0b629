"""The tutorials, step by step as a person would follow them: files, Python and commands of a page in their order."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from running import REPOSITORY

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PAGES = sorted((REPOSITORY / "docs").glob("tutorial-*.md"))
ELSEWHERE = r"<!-- not run with the page: it needs [^>]+ -->\n\n?```.*?^```\n"
"""A block that needs what a test has not."""
BLOCK = re.compile(r"^```(python|yaml|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")
INSTALLING = re.compile(r"^(make setup|python3 -m venv|\.venv/bin/pip) ?.*\n", re.MULTILINE)
"""What the environment of the tests has done."""


def steps(page):
    """Return the blocks of a page as one script, in which neighbouring blocks of Python are one program."""
    text = re.sub(ELSEWHERE, "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    script, program = ["set -e -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"], ""
    for language, content in [*BLOCK.findall(text), ("bash", "")]:
        if named := FILE.match(content):
            script.append(f"cat > {named[1]} <<'END_OF_FILE'\n{content}END_OF_FILE")
        elif language == "python":
            program += f"{content}\n"
        elif language == "bash":
            if program:
                script.append(f"{shlex.quote(sys.executable)} -W ignore -c {shlex.quote(program)}")
                program = ""
            script.append(INSTALLING.sub("", content))
    return "\n".join(script)


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem.removeprefix("tutorial-"))
def test_a_tutorial_works_as_it_is_written(page, tmp_path):
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    # The checkout's Snakefile, from a folder that only the tutorial writes into.
    for name in ("workflow", "config"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    text = page.read_text()
    script = steps(page).replace("8080", str(free_port()))
    is_whole = page.stem == "tutorial-onnx"
    if not is_whole:
        # Figures and pages of one study are enough.
        script = script.replace("snakemake --cores all --configfile", "snakemake --cores all metrics --configfile")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow"), "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in re.findall(r"(?:savefig\(|--output )\"?([\w.-]+\.png)", text):
        assert (tmp_path / name).stat().st_size > 1000
    if "snakemake --cores all --configfile" in text:
        assert (
            tmp_path / "results" / ("report/story.html" if is_whole else "summary/summary.csv")
        ).stat().st_size > 100
