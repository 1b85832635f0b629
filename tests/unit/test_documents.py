"""The README and the pages: examples that print what stands there, links that lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from approxgrad.study.study import Study
from small_studies import DEFAULT

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
README = PAGES[0].read_text()
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
