import pytest
import torch

from approxgrad.gradients.bases import RandomCosines

CPU = torch.device("cpu")


@pytest.mark.parametrize("features", [1, 2, 3, 4, 7, 64, 501])
def test_directions_are_orthonormal_to_the_rounding_of_float64(features):
    rows = RandomCosines(features, 0, CPU).directions(slice(0, features))
    assert (rows.dtype, rows.shape) == (torch.float64, (features, features))
    # Sums of d products of numbers up to sqrt(2 / d), each with the rounding of its two cosines and of its places.
    torch.testing.assert_close(rows @ rows.T, torch.eye(features).double(), rtol=0, atol=40 * features * 2.0**-53)


def test_any_directions_can_be_asked_for():
    basis = RandomCosines(50, 1, CPU)
    every = basis.directions(slice(0, 50))
    assert torch.equal(basis.directions(slice(7, 19)), every[7:19])
    assert torch.equal(basis.directions(torch.tensor([49, 0, 49])), every[[49, 0, 49]])


def test_the_seed_decides():
    one, same, other = (RandomCosines(40, seed, CPU).directions(slice(0, 40)) for seed in (5, 5, 6))
    assert torch.equal(one, same)
    # No direction of another seed is one of these.
    assert float((one @ other.T).abs().max()) < 0.9


def test_directions_of_an_image_of_imagenet_take_no_more_memory_than_they_have_numbers():
    features = 3 * 224 * 224
    rows = RandomCosines(features, 0, CPU).directions(slice(100_000, 100_004))
    torch.testing.assert_close(rows @ rows.T, torch.eye(4).double(), rtol=0, atol=1e-12)
    # Each moves nearly all features, none of them far.
    assert float(rows.abs().max()) <= (2 / features) ** 0.5 * (1 + 1e-12)
    assert float((rows.abs() > 0.1 * features**-0.5).double().mean()) > 0.9


def test_signs_of_directions_spread_an_error_that_all_differences_share():
    total = RandomCosines(256, 0, CPU).directions(slice(0, 256)).sum(dim=0)
    # Without these signs the cosines add up to a few features.
    assert float(total.abs().max()) < 5
