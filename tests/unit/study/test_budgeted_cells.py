"""Attributions on a budget: what they cost, how they are ordered, and what is predicted of them."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from approxgrad import DirectionalDifference
from approxgrad.gradients.directional import directions
from approxgrad.gradients.directional.budgeted_directions import Directions
from approxgrad.gradients.directional.spectrum_tables import read_spectrum, write_spectrum
from approxgrad.gradients.published.sources import Sampling, Smoothing, Surrogate
from approxgrad.gradients.source import Source
from approxgrad.methods.method import METHODS
from approxgrad.models.model_files import load_model
from approxgrad.storage.attributions import read_attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import write_table
from approxgrad.study import shards
from approxgrad.study.cells import attribute_cell
from approxgrad.study.derived import derive_cell
from approxgrad.study.measured_spectra import measure_spectrum
from approxgrad.study.shards import gather
from small_cells import IMAGE, classified_images
from small_studies import source

CPU = torch.device("cpu")
SHAPE, SAMPLES = IMAGE, 5
PILOTS = Directions("cosine", (20,), pilots=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights, test and training split of a classification of images."""
    return classified_images(tmp_path_factory.mktemp("cell"))


def entry(kind, budget=20, dtype="float32"):
    return Source(kind.only(budget, dtype), budget, dtype).entry


def measured(files, kind=PILOTS, **changes):
    options = {"gradient": entry(kind), "sample_seed": 3, "memory_mib": None, "device": CPU}
    return measure_spectrum(**files | options | changes)


@pytest.fixture(scope="module")
def spectrum(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("spectrum") / "part-0.parquet"
    write_spectrum(path, *measured(files))
    return path


def cell(files, method="gradient", kind=PILOTS, budget=20, **changes):
    options = {"samples": SAMPLES, "sample_seed": 3, "memory_mib": None, "device": CPU, "seed": 5}
    own = {"attribution": method} | ({"n_steps": 4} if "integrated" in method else {})
    gradient = kind if isinstance(kind, dict) else entry(kind, budget)
    return attribute_cell(**files | options | {"gradient": gradient} | changes, method=own)[0]


# The order of directions


def test_a_spectrum_is_that_of_the_gradients_at_training_rows(files, spectrum):
    found, metadata = measured(files)
    assert metadata["model_evaluations"] == found.evaluations == 3 * 37
    assert (metadata["pilots"], metadata["basis"], metadata["feature_shape"]) == (3, "cosine", [1, 6, 6])
    # Orthonormal directions keep the length, which is 1 for each pilot.
    assert float(found.energies.sum()) == pytest.approx(1, abs=1e-12)
    kept = read_spectrum(spectrum)
    assert torch.equal(kept.energies, found.energies)
    assert (kept.basis, kept.shapes, kept.pilots) == (found.basis, found.shapes, 3)
    assert not torch.equal(measured(files, sample_seed=4)[0].energies, found.energies)


def test_directions_come_in_the_order_of_the_spectrum(files, spectrum):
    found = cell(files, spectrum=spectrum)
    x = torch.from_numpy(found.inputs).reshape(SAMPLES, *SHAPE)
    difference = DirectionalDifference(budget=20, basis="cosine", order=read_spectrum(spectrum), seed=5)
    expected = difference(load_model(files["weights"], CPU), x, found.target.tolist())[0]
    np.testing.assert_allclose(found.attribution, expected.flatten(1), rtol=1e-4, atol=1e-6)
    assert not np.allclose(found.attribution, cell(files, kind=Directions("cosine", (20,))).attribution, rtol=0.1)


def test_fewer_training_rows_than_pilots_are_all_taken(files):
    found, metadata = measured(files, Directions("haar", (20,), pilots=100))
    assert (found.pilots, metadata["pilots"], found.basis) == (30, 30, "haar")


def test_a_file_that_is_no_spectrum_is_refused(files, spectrum, tmp_path):
    with pytest.raises(TableError, match="is not a spectrum"):
        read_spectrum(files["test"])
    document = {"basis": "cosine", "feature_shape": [1, 6, 6], "pilots": 1, "model_evaluations": 1}
    for energies in ([0.1] * 35, [float("nan")] * 36):
        write_table(tmp_path / "other.parquet", pa.table({"energy": energies}), document)
        with pytest.raises(TableError, match="expected a finite one for each feature"):
            read_spectrum(tmp_path / "other.parquet")


# What attributions cost, and what is told of them


@pytest.mark.parametrize("budget", [10, 37, 90])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
@pytest.mark.parametrize(
    "kind",
    [
        Directions("cosine", (2,)),
        Directions("orthogonal", (2,), scheme="central"),
        Smoothing("spsa", (2,)),
        Sampling("geex", (2,)),
        Sampling("gefa", (2,)),
        Surrogate("lime", (2,)),
        Surrogate("kernel_shap", (2,)),
    ],
    ids=lambda kind: kind.family,
)
def test_evaluations_of_a_cell_are_those_of_the_plan(files, kind, method, budget):
    if kind.along_path and method == "gradient":
        return
    found = cell(files, method, kind, budget)
    metadata = found.metadata
    planned = METHODS[method]().evaluations(Source(kind.only(budget, "float32"), budget), SHAPE)
    assert metadata["evaluations"] == planned <= budget
    assert metadata["model_evaluations"] == SAMPLES * planned
    assert (metadata["setting"], metadata["setting_name"], metadata["family"]) == (budget, "evaluations", kind.family)
    assert np.isfinite(found.attribution).all()


def test_predictions_stand_beside_attributions(files, spectrum):
    found = cell(files, spectrum=spectrum, budget=30).metadata["predicted"]
    assert found.keys() == {"gradient", "saliency", "input_x_gradient"}
    for values in found.values():
        assert len(values) == SAMPLES
        assert all(-1 <= low <= median <= high <= 1 for median, low, high in values)
    path = cell(files, "integrated_gradients", spectrum=spectrum, budget=30).metadata["predicted"]
    assert path.keys() == {"integrated_gradients"}
    assert "predicted" not in cell(files, kind=Smoothing("spsa", (2,))).metadata
    assert "predicted" not in cell(files, kind=source(0.5).entry).metadata


def test_a_derived_map_has_its_own_prediction(files, spectrum, tmp_path):
    whole = cell(files, spectrum=spectrum)
    write_attributions(tmp_path / "part-0.parquet", whole)
    for name in ("saliency", "input_x_gradient"):
        metadata = derive_cell(tmp_path / "part-0.parquet", {"attribution": name}).metadata
        assert metadata["predicted"] == {name: whole.metadata["predicted"][name]}


@pytest.mark.filterwarnings("error")
def test_a_budget_that_is_of_little_use_gives_no_warning_in_a_job(files, monkeypatch):
    monkeypatch.setattr(directions, "USELESS", 1.1)
    found = cell(files, kind=Directions("pixels", (10,)), budget=20).metadata["predicted"]["gradient"]
    assert len(found) == SAMPLES


def test_nothing_is_known_of_few_directions_without_probes(files):
    found = cell(files, kind=Directions("cosine", (3,)), budget=3).metadata["predicted"]
    assert found["gradient"] == [[None] * 3] * SAMPLES


def test_shards_are_the_whole(files, spectrum, monkeypatch, tmp_path):
    monkeypatch.setattr(shards, "BLOCK_EVALUATIONS", 40)
    whole = cell(files, spectrum=spectrum)
    paths = []
    for number in range(1, 8):
        paths.append(tmp_path / f"{number}.parquet")
        write_attributions(paths[-1], cell(files, spectrum=spectrum, shard=(number, 7)))
    gather(paths, tmp_path / "part-0.parquet")
    gathered = read_attributions(tmp_path / "part-0.parquet")
    np.testing.assert_array_equal(gathered.attribution, whole.attribution)
    assert gathered.metadata["predicted"] == whole.metadata["predicted"]
    assert gathered.metadata["model_evaluations"] == whole.metadata["model_evaluations"]


def test_both_precisions_have_the_same_directions(files, spectrum):
    single = cell(files, spectrum=spectrum)
    double = cell(files, spectrum=spectrum, gradient=entry(PILOTS, 20, "float64"))
    assert double.attribution.dtype == np.float64
    np.testing.assert_allclose(single.attribution, double.attribution, rtol=0.02, atol=1e-4)
