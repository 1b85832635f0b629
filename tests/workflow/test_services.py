"""A study of a model behind a service: it is planned without the service, and goes on without paying twice."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from running import TINY, Place

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))
from stub_services import Service, http_service

pytestmark = pytest.mark.workflow

FEATURES = 12
WEIGHTS = np.linspace(-1, 1, FEATURES)
TOKEN = "s3cr3t-t0ken-of-the-study"


class Regression(Service):
    """One output for twelve features."""

    def described(self):
        return super().described() | {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, FEATURES]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
        }

    def outputs(self, rows):
        found = np.tanh(np.asarray(rows, float) * WEIGHTS).sum(axis=1, keepdims=True)
        return found if self.change is None else self.change(found)


def study(folder, address):
    config = {
        "models": {
            "served": {
                "service": address,
                "model": "m",
                "token_variable": "STUDY_TOKEN",
                "request_rows": 4,
                "concurrency": 2,
                "patience": 0,
            }
        },
        "gradients": {
            "forward": {"difference": "forward", "steps": [0.5]},
            "fine": {"difference": "central", "steps": [0.01]},
            "few": {"directions": "cosine", "budgets": [8], "pilots": 1},
        },
        "experiments": [
            {
                "datasets": ["synthetic_linear"],
                "models": ["served"],
                "methods": ["saliency"],
                "gradients": ["forward", "fine", "few"],
                "reference": "central-h0.01",
                "samples": 4,
            }
        ],
    }
    folder.mkdir()
    overlay = Place(folder).overlay(config)
    return Place(folder, overlays=(TINY, overlay))


def maps(place, gradient):
    folder = f"results/attributions/dataset=synthetic_linear/model=served/method=saliency/gradient={gradient}"
    return pq.read_table(place.directory / folder / "part-0.parquet")


@pytest.mark.slow
def test_a_study_is_planned_without_its_service(tmp_path):
    place = study(tmp_path / "study", "http://127.0.0.1:9")
    assert place.plan("attributions").jobs["measure_model"] == 1
    assert "is not timed: a plan never asks a model behind a service" in place.run("plan").text


def test_wrong_options_are_told_with_their_key(tmp_path):
    place = study(tmp_path / "study", "http://user:secret@127.0.0.1:9")
    text = place.run("attributions", "--dry-run").text
    assert "models.served.service: holds a user or a password" in text
    assert "secret" not in text


@pytest.mark.slow
def test_a_study_that_was_interrupted_goes_on_and_pays_nothing_twice(tmp_path):
    with http_service(Regression()) as (service, address):
        place = study(tmp_path / "study", address)
        # The service refuses in the middle of the attributions: after probes, checks and measures.
        service.faults = [None] * 45 + ["wrong"] * 200
        broken = place.run("attributions", cores=1, STUDY_TOKEN=TOKEN)
        assert broken.code != 0
        assert "answers 400 (unexpected shape for input 'x')" in broken.text
        service.faults = []
        files = list((place.directory / "data/answers").rglob("*.answers"))
        assert files
        outcome = place.run("attributions", cores=1, STUDY_TOKEN=TOKEN)
        assert outcome.code == 0, outcome.text
        paid = sum(service.asked)
        few = maps(place, "cosine-pilots1-n8").schema.metadata[b"approxgrad"]
        assert json.loads(few)["model_evaluations"] == 4 * 8
        # All again: only probes are asked.
        outcome = place.run("attributions", "--forcerun", "attribute", "differentiate", cores=1, STUDY_TOKEN=TOKEN)
        assert outcome.code == 0, outcome.text
        jobs = sum(count for rule, count in outcome.jobs.items() if rule in ("attribute", "differentiate"))
        assert jobs
        assert sum(service.asked) - paid <= jobs * 2 * 8
        assert all(headers["Authorization"] == f"Bearer {TOKEN}" for headers in service.headers)

        table = maps(place, "central-h0.01")
        rows = np.array(table["input"].to_pylist())
        exact = np.abs(WEIGHTS * (1 - np.tanh(rows * WEIGHTS) ** 2))
        # Truncation h^2/6 |f'''|, |tanh'''| <= 2; rounding of outputs up to 12 in float32 over 2 h, twice.
        assert np.abs(np.array(table["attribution"].to_pylist()) - exact).max() < 1e-4 / 3 + 2 * 12 * 6e-8 / 0.02
        said = table.schema.metadata[b"approxgrad"]
        assert b'"service": {' in said
        assert b'"platform": "stub"' in said
        measures = place.directory / "results/test_metrics/dataset=synthetic_linear/model=served/part-0.parquet"
        assert b'"answers": [' in pq.read_schema(measures).metadata[b"approxgrad"]

        contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(contents) > 10
        assert not any(TOKEN.encode() in content for content in contents)
        assert TOKEN not in broken.text + outcome.text

        service.change = lambda outputs: outputs + 1
        other = place.run("attributions", "--forcerun", "attribute", "differentiate", STUDY_TOKEN=TOKEN)
        assert other.code != 0
        assert "holds answers of another model" in other.text
