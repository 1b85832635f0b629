"""Sensitivity: closed forms, captum's own, and cells of every sort of source."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max

from approxgrad import FiniteDifference, attribute
from approxgrad.evaluation.sensitivity import drawn_moves, sensitivities, sensitivity_table
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.directional.budgeted_directions import Directions
from approxgrad.gradients.published.sources import Sampling, Smoothing
from approxgrad.gradients.source import Source, evaluated_source, exact_source
from approxgrad.storage.attributions import write_attributions
from approxgrad.storage.splits import read_split, write_split
from approxgrad.storage.step_tables import write_choice
from approxgrad.study.cells import attribute_cell
from small_cells import IMAGE, classified_images
from small_studies import source

CPU = torch.device("cpu")
CURVATURE = torch.tensor([[4.0, 1.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.5, 1.0]])


@dataclass
class Chosen:
    """As much of a chosen step as is needed here."""

    step: float = 0.25
    scheme: str = "central"


OPTIONS = {"samples": 4, "moves": 5, "radius": 0.05}


def quadratic(points):
    return 0.5 * ((points @ CURVATURE) * points).sum(dim=1)


def inputs(rows=6):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, 3))).float()


def test_the_gradient_of_a_quadratic_model_changes_as_its_curvature_says():
    x, moves = inputs(), drawn_moves(40, 0.3, (3,), 7)
    found = sensitivities(lambda points: points @ CURVATURE, x, x @ CURVATURE, moves)
    expected = (moves @ CURVATURE).norm(dim=1).max() / (x @ CURVATURE).norm(dim=1)
    # Sums of three terms in single precision.
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Central differences of a quadratic model have no truncation.
    own = FiniteDifference(0.5, "central")
    by_differences = sensitivities(
        lambda points: attribute(quadratic, points, gradient=own, signed=True),
        x,
        attribute(quadratic, x, gradient=own, signed=True),
        moves,
    )
    np.testing.assert_allclose(by_differences, expected, rtol=1e-4)


def test_it_is_captums():
    x, moves = inputs(), drawn_moves(12, 0.4, (3,), 1)

    def attributed(points):
        return attribute(quadratic, points, method="input_x_gradient")

    def moved(points):
        return points + moves.repeat(len(points) // len(moves), 1)

    theirs = sensitivity_max(attributed, x, perturb_func=moved, n_perturb_samples=len(moves))
    np.testing.assert_allclose(sensitivities(attributed, x, attributed(x), moves), theirs, rtol=1e-5)


def test_a_map_of_zeros_has_none():
    x, moves = inputs(2), drawn_moves(3, 0.1, (3,), 0)
    maps = torch.stack([torch.zeros(3), torch.ones(3)])
    found = sensitivities(lambda points: maps + 0.5, x, maps, moves)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.5)


def test_moves_fill_the_ball_and_no_more():
    moves = drawn_moves(5000, 0.25, (2, 2), 3)
    assert moves.shape == (5000, 2, 2)
    assert 0.249 < float(moves.max()) <= 0.25
    assert -0.25 <= float(moves.min()) < -0.249
    assert float(moves.mean()) == pytest.approx(0, abs=0.01)
    assert not torch.equal(moves, drawn_moves(5000, 0.25, (2, 2), 4))


# Cells


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights, test and training split of a classification of images."""
    return classified_images(tmp_path_factory.mktemp("cell"))


def single(kind, setting):
    return Source(kind.only(setting, "float32"), setting, "float32")


SOURCES = {
    "exact": exact_source(),
    "in double precision": exact_source("float64"),
    "forward": source(0.1),
    "in spreads": Source(Difference("central", (0.5,), step_unit="spread"), 0.5),
    "chosen": source("auto", scheme="central"),
    "a budget": single(Directions("cosine", (20,)), 20),
    "random": single(Smoothing("spsa", (20,)), 20),
    "random along a path": single(Sampling("geex", (20,)), 20),
    "evaluations": evaluated_source(),
}
SALIENCY = {"attribution": "saliency"}
PATH = {"attribution": "integrated_gradients", "n_steps": 3, "baseline": "mean"}
CASES = [
    *((SALIENCY, name) for name in SOURCES if name not in ("random along a path", "evaluations")),
    *((PATH, name) for name in ("exact", "forward", "random", "random along a path")),
    ({"attribution": "occlusion", "window": 2}, "evaluations"),
]


def given(files, method, gradient, **changes):
    """What the job of a cell and that of its sensitivity are given alike."""
    options = {"method": method, "gradient": gradient.entry, "sample_seed": 3, "memory_mib": None, "device": CPU}
    return files | options | {"seed": 5} | changes


def measured(files, folder, method, gradient, options=OPTIONS, **changes):
    """The sensitivity of the maps of a cell of 6 rows, what it cost, and the cell."""
    own = given(files, method, gradient, **changes)
    cell, _ = attribute_cell(**own, samples=6)
    write_attributions(folder / "cell.parquet", cell)
    table, cost = sensitivity_table(**own, attributions=folder / "cell.parquet", options=options, moves_seed=11)
    return table, cost, cell


@pytest.mark.parametrize(("method", "name"), CASES, ids=lambda case: case if isinstance(case, str) else "")
def test_maps_at_moved_rows_are_those_that_the_cell_would_have_there(files, tmp_path, method, name):
    write_choice(tmp_path / "choice.parquet", Chosen(), {})
    own = {"choice": tmp_path / "choice.parquet"} if name == "chosen" else {}
    table, cost, cell = measured(files, tmp_path, method, SOURCES[name], **own)
    assert table["sample"].to_pylist() == cell.sample[:4].tolist()
    assert set(table["gradient"].to_pylist()) == {SOURCES[name].name}
    # What the cell paid for 6 maps, for 5 moves of 4.
    assert cost["model_evaluations"] == cell.metadata["model_evaluations"] / 6 * 5 * 4
    test, changes = read_split(files["test"]), []
    for move in drawn_moves(5, 0.05, IMAGE, 11):
        # The test rows themselves are moved.
        features = test.features + 0.7 * move.flatten().numpy()
        write_split(tmp_path / "moved.parquet", replace(test, features=features), {})
        there = given(files, method, SOURCES[name], **own) | {"test": tmp_path / "moved.parquet"}
        changes.append(
            np.linalg.norm((attribute_cell(**there, samples=4)[0].attribution - cell.attribution[:4]), axis=1)
        )
    expected = np.max(changes, axis=0) / np.linalg.norm(cell.attribution[:4], axis=1)
    assert (expected > 1e-3).all()
    # Moved rows are rounded once more here.
    np.testing.assert_allclose(table["sensitivity"].to_numpy(), expected, rtol=2e-3)


def test_other_draws_of_a_random_source_are_not_taken_for_a_change(files, tmp_path):
    own = given(files, SALIENCY, SOURCES["random"])
    write_attributions(tmp_path / "cell.parquet", attribute_cell(**own, samples=6)[0])
    options = {"attributions": tmp_path / "cell.parquet", "options": OPTIONS, "moves_seed": 11}
    same, other = (sensitivity_table(**own | {"seed": seed}, **options)[0]["sensitivity"] for seed in (5, 6))
    assert np.median(same.to_numpy()) < 0.5 * np.median(other.to_numpy())


def test_a_radius_that_rounding_swallows_is_refused(files, tmp_path):
    tiny = OPTIONS | {"radius": 1e-12}
    with pytest.raises(
        ValueError, match=r"^faithfulness.sensitivity.radius: got 1e-12, which moves no feature of test"
    ):
        measured(files, tmp_path, SALIENCY, SOURCES["exact"], tiny)
    assert measured(files, tmp_path, SALIENCY, SOURCES["in double precision"], tiny)[1]["radius"] == 1e-12
