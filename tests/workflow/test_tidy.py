"""Results of an earlier configuration in a folder: they are reported, listed by a dry run, and removed by name only."""

from dataclasses import replace

import pytest

pytestmark = pytest.mark.workflow

FEWER = {
    "experiments": [
        {"datasets": ["synthetic_linear"], "models": ["mlp"], "methods": ["integrated_gradients"]}
        | {"gradients": ["tenth"], "samples": 5}
    ]
}


def results(place):
    files = (path for path in place.directory.glob("results/**/*") if path.is_file())
    return {path.relative_to(place.directory).as_posix() for path in files}


def test_results_of_an_earlier_configuration_are_told_and_tidied(tiny_copy):
    place = replace(tiny_copy, overlays=(*tiny_copy.overlays, tiny_copy.overlay(FEWER)))
    before = results(place)
    done = place.run("data", "--forcerun", "prepare_data")
    (line,) = (line for line in done.stderr.splitlines() if "belong to other configurations" in line)
    cell = "results/attributions/dataset={}/model={}/method={}/gradient={}/part-0.parquet"
    saliency = cell.format("synthetic_linear", "mlp", "saliency", "forward-h0.5")
    kept = cell.format("synthetic_linear", "mlp", "integrated_gradients", "forward-h0.1")
    assert {saliency, kept} <= before
    listed = place.plan("tidy").text
    assert saliency in listed
    assert kept not in listed
    assert results(place) == before
    done = place.run("tidy")
    assert done.code == 0, done.text
    gone = before - results(place)
    # And the three parts of the data set that is not used any more.
    assert line.startswith(f"{len(gone) + 3:,} files here belong")
    assert saliency in gone
    assert kept not in gone
    assert not (place.directory / "data" / "digits").exists()
    assert not [path for path in gone if path.startswith("results/summary/")]
    assert "removed from results/attributions/: " in done.text
    assert "belong to other configurations" not in place.run("data", "--forcerun", "prepare_data").text
