"""The README and the pages: examples that print what stands there, links that lead somewhere."""

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from approxgrad.descriptions import read
from approxgrad.study.configuration import SECTIONS
from approxgrad.study.study import Study
from small_studies import DEFAULT

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
README = PAGES[0].read_text()
NOT_RUN = r"<!-- not run with the page: [^>]+ -->\n\n?"
"""What stands before a block that needs something that a test has not: a server, a finished study, a foreign file."""
PRINTING = {"start", "tutorial-onnx"}
"""Pages whose blocks of text are what their Python prints."""
NUMBER = re.compile(r"\d\S*")


def blocks(text, language):
    """The code blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(path):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_example_prints_what_the_readme_says():
    (code,), (printed,) = blocks(README, "python"), blocks(README, "text")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert NUMBER.sub("", done.stdout) == NUMBER.sub("", printed)
    # Rounding differs between machines.
    found, expected = ([float(each) for each in NUMBER.findall(text)] for text in (done.stdout, printed))
    assert found == pytest.approx(expected, rel=0.5)


def test_the_study_of_the_readme_is_one():
    (text,) = blocks(README, "yaml")
    own = yaml.safe_load(text)
    cells = Study({**DEFAULT, **own}).cells
    # Exact and approximated: 3 forward steps, and 2 central ones in 2 precisions.
    assert len(cells) == len(own["experiments"][0]["methods"]) * (2 + 3 + 2 * 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    missing = []
    for link in links:
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_every_page_is_in_the_contents_of_the_site():
    index = (REPOSITORY / "docs" / "index.md").read_text()
    trees = re.findall(r"^```\{toctree\}\n(?::[^\n]*\n)*(.*?)```", index, re.MULTILINE | re.DOTALL)
    assert sorted(["index", *"\n".join(trees).split()]) == sorted(page.stem for page in PAGES[1:])


def runnable(page):
    """The Python blocks of a page as one script; a comment in front says why a block is left out."""
    text = re.sub(NOT_RUN + r"```python\n.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(blocks(text, "python"))


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if runnable(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", runnable(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    for printed in blocks(page.read_text(), "text"):
        if not done.stdout or page.stem not in PRINTING:
            continue
        assert printed in done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "extending"], ids=lambda page: page.name)
def test_configurations_of_a_page_are_valid(page):
    for text in blocks(page.read_text(), "yaml"):
        own = yaml.safe_load(text)
        for name, section in SECTIONS.items():
            for options in (own.get(name) or {}).values():
                given = section.expanded(options)
                found = read(section.registry[section.kind(given)], section.options(given))
                assert getattr(found, "faults", list)() == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_in_a_page_are_there(page):
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    asked = re.findall(r"\bmake ([a-z]+)\b", " ".join(blocks(page.read_text(), "bash")))
    assert set(asked) <= targets


@pytest.mark.parametrize("name", ["columns", "figures"])
def test_pages_made_from_code_are_what_it_says(name):
    spec = spec_from_file_location(f"{name}_page", REPOSITORY / "docs" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), f"run: python docs/{name}.py"
