"""A model that others made and published, as the documentation attributes it in Python and in a study."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs" / "black-boxes.md").read_text().partition("\n## ONNX\n")[2].partition("\n## ")[0]
FILE = "ch_ppocr_mobile_v2.0_cls_infer.onnx"
PACKAGE = "rapidocr_onnxruntime"


def block(language, *, smaller=False):
    """The first block of code in a language; with images an eighth as large, which the model takes as well."""
    text = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    return text.replace("48, 192", "24, 48") if smaller else text


def test_the_page_is_as_short_as_it_says():
    assert len([line for line in block("python").splitlines() if line.strip()]) == 5
    assert len(block("yaml").splitlines()) == 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        pytest.skip(f"{PACKAGE} is not installed")
    shutil.copy(Path(found.origin).parent / "models" / FILE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_lines_of_python_work(folder):
    names = {}
    exec(block("python", smaller=True), names)
    attributions, image, model = names["attributions"], names["image"], names["model"]
    assert (attributions.shape, attributions.dtype) == (image.shape, np.float32)
    assert attributions.min() >= 0 < attributions.max()
    # One of them by hand; roundings of an output of size 1 in float32, over the step.
    moved = image.copy()
    place = np.unravel_index(attributions.argmax(), image.shape)
    moved[place] += np.float32(0.01)
    slope = abs(model(moved)[0, 1] - model(image)[0, 1]) / float(moved[place] - image[place])
    assert attributions[place] == pytest.approx(slope, abs=10 * float(np.finfo(np.float32).eps) / 0.01)


@pytest.mark.slow
def test_the_study_works(folder):
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("0", "180"):
            (folder / "lines" / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = random.integers(0, 256, (24, 48, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "lines" / part / name / f"{number}.png")
    (folder / "study.yaml").write_text(block("yaml", smaller=True))
    snakefile = REPOSITORY / "workflow" / "Snakefile"
    snakemake = [Path(sys.executable).with_name("snakemake"), "--snakefile", snakefile, "--cores", "2"]
    done = subprocess.run(
        [*snakemake, "--configfile", "study.yaml", "--", "attributions", "models"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    maps = pd.read_parquet(folder / "results/attributions")
    assert sorted(maps["gradient"].unique()) == ["forward-h0.01", "forward-h0.1"]
    assert np.stack(maps["attribution"]).shape == (4, 3 * 24 * 48)
