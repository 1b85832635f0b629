"""The example of the page on trees, run as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("shap", reason="needs the extra trees")
xgboost = pytest.importorskip("xgboost", reason="needs the extra trees")

DOCS = Path(__file__).resolve().parents[3] / "docs"
(SECTION,) = [
    text.partition("\n## Trees\n")[2].partition("\n## ")[0]
    for text in (f"\n{page.read_text()}" for page in DOCS.glob("black-boxes*.md"))
    if "\n## Trees\n" in text
]
CODE, OUTPUT = re.findall(r"^```(?:python|text)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)[:2]


def numbers(text):
    return [float(own) for own in re.findall(r"(?<![A-Za-z])-?\d+\.?\d*", text)]


@pytest.mark.skipif(not xgboost.__version__.startswith("3.2."), reason="xgboost 3.2 grew the trees of the page")
def test_the_example_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(CODE, "page", "exec"), {})
    printed = capsys.readouterr().out
    assert re.sub(r"[-\d. ]+", " ", printed) == re.sub(r"[-\d. ]+", " ", OUTPUT)
    np.testing.assert_allclose(numbers(printed), numbers(OUTPUT), atol=0.2)
