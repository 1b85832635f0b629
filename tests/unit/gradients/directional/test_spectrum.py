import numpy as np
import pytest
import torch

from approxgrad import DirectionalDifference, ExactGradient, FiniteDifference, Spectrum
from approxgrad.gradients.directional.spectrum import BASES, ORDERED
from problems import linear, points, small_cnn, softplus_mlp, two_inputs

CPU = torch.device("cpu")


@pytest.mark.parametrize("basis", ORDERED)
def test_energies_are_the_mean_squared_coefficients_of_gradients_of_length_1(basis):
    model, x, target = small_cnn(), points(5, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    found = Spectrum.measured(model, x, target, gradient=ExactGradient(), basis=basis)
    exact = ExactGradient()(model, x, target)[0].flatten(1)
    exact = exact / exact.norm(dim=1, keepdim=True)
    rows = BASES[basis](((2, 4, 4),), 0, CPU).directions(slice(0, 32))
    torch.testing.assert_close(found.energies, (exact @ rows.T).square().mean(dim=0), rtol=0, atol=1e-12)
    assert float(found.energies.sum()) == pytest.approx(1)
    assert (found.basis, found.shapes, found.pilots) == (basis, ((2, 4, 4),), 5)


def test_its_cost_is_told():
    source = FiniteDifference(0.01)
    found = Spectrum.measured(softplus_mlp(12), points(4, 12), 1, gradient=source)
    assert found.evaluations == 4 * 13 + source.check_evaluations


@pytest.mark.parametrize("basis", ["haar", "pixels"])
def test_the_directions_of_most_energy_come_first(basis):
    weights = torch.arange(16.0).double() % 5
    model, x = lambda x: (x * weights).sum(dim=1), points(1, 16)
    spectrum = Spectrum.measured(model, x, gradient=FiniteDifference(1.0), basis=basis)
    rows = BASES[basis](((16,),), 0, CPU).directions(slice(0, 16))
    largest = (rows @ weights).abs().sort(descending=True).values
    source = DirectionalDifference(0.5, budget=7, basis=basis, order=spectrum, probes=0)
    found = source(model, x)[0]
    assert float(found.square().sum()) == pytest.approx(float(largest[:6].square().sum()))


def test_frequencies_beside_each_other_share_their_energy():
    energies = torch.zeros(2, 4, 4).double()
    energies[1, 2, 2] = 1
    basis = BASES["cosine"](((2, 4, 4),), 0, CPU)
    smooth = basis.smoothed(energies.flatten()).reshape(2, 4, 4)
    expected = torch.zeros(2, 4, 4).double()
    expected[1, 1:, 1:] = torch.tensor([[1 / 9, 1 / 9, 1 / 6], [1 / 9, 1 / 9, 1 / 6], [1 / 6, 1 / 6, 1 / 4]])
    torch.testing.assert_close(smooth, expected, rtol=0, atol=1e-7)


def test_a_spectrum_can_be_kept(tmp_path):
    own = Spectrum.measured(two_inputs, (points(3, 2), points(3, 4, 4)), gradient=FiniteDifference(0.5), basis="haar")
    own.save(tmp_path / "pilots.npz")
    found = Spectrum.load(tmp_path / "pilots.npz")
    assert torch.equal(found.energies, own.energies)
    assert (found.basis, found.shapes, found.pilots, found.evaluations) == ("haar", ((2,), (4, 4)), 3, own.evaluations)
    # Nothing in it needs to be unpickled.
    with np.load(tmp_path / "pilots.npz", allow_pickle=False) as file:
        assert set(file.files) == {"energies", "basis", "pilots", "evaluations", "shape000", "shape001"}


def test_files_that_are_no_spectra_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        Spectrum.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("energies")
    own = Spectrum.measured(softplus_mlp(4), points(2, 4), 0, gradient=FiniteDifference(0.01))
    Spectrum(own.energies[1:], own.basis, own.shapes, 2, 0).save(tmp_path / "short.npz")
    np.savez(tmp_path / "other.npz", energies=np.ones(4))
    Spectrum(own.energies * torch.nan, own.basis, own.shapes, 2, 0).save(tmp_path / "empty.npz")
    for name in ("text", "short", "other", "empty"):
        with pytest.raises(ValueError, match=rf"{name}\.npz: is not a spectrum"):
            Spectrum.load(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("basis", "scale", "message"),
    [
        ("orthogonal", 1.0, "basis: got 'orthogonal', expected one of cosine, haar, pixels for a spectrum"),
        ("cosine", 0.0, "pilots: the gradient is zero for each of them"),
    ],
)
def test_spectra_that_say_nothing_are_refused(basis, scale, message):
    with pytest.raises(ValueError, match=message):
        Spectrum.measured(lambda x: scale * x.sum(dim=1), points(2, 4), gradient=FiniteDifference(0.5), basis=basis)
    with pytest.raises(TypeError, match=r"gradient: expected a gradient source such as .*, got 'exact'"):
        Spectrum.measured(linear, points(2, 3), gradient="exact")
