import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from approxgrad.gradients.directional.bases import Groups, RandomCosines
from approxgrad.gradients.directional.products import CHROMA
from approxgrad.gradients.directional.spectrum import BASES

CPU = torch.device("cpu")
SHAPES = [(), (1,), (12,), (4, 1), (3, 7), (1, 28, 28), (3, 7, 5), (3, 1, 9), (2, 3, 8, 8), (5, 4, 4)]
ORTHONORMAL = [name for name in BASES if name != "random"]


def rows_of(name, *shapes, seed=0):
    basis = BASES[name](shapes, seed, CPU)
    return basis.directions(basis.order())


def assert_orthonormal(rows):
    # Sums of d products of numbers up to sqrt(2 / d), each with the rounding of its factors.
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)).double(), rtol=0, atol=40 * len(rows) * 2.0**-53)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ORTHONORMAL)
def test_directions_are_orthonormal_to_the_rounding_of_float64_and_span_all(name, shape):
    rows = rows_of(name, shape)
    assert (rows.dtype, rows.shape) == (torch.float64, (math.prod(shape), math.prod(shape)))
    assert_orthonormal(rows)


@pytest.mark.parametrize("name", ORTHONORMAL)
def test_directions_of_several_inputs_are_orthonormal(name):
    assert_orthonormal(rows_of(name, (3, 4, 4), (5,), (2, 3)))


@pytest.mark.parametrize("name", ["cosine", "haar"])
def test_of_several_inputs_each_has_directions_of_its_own_the_coarse_ones_first(name):
    rows = rows_of(name, (1, 4, 4), (16,))
    moved = torch.stack([(part != 0).any(dim=1) for part in rows.split(16, dim=1)])
    assert (moved.sum(dim=0) == 1).all()
    assert (moved[:, :8].sum(dim=1) == 4).all()


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(sorted(BASES)), shape=st.sampled_from(SHAPES), data=st.data())
def test_any_directions_can_be_asked_for(name, shape, data):
    basis = BASES[name]((shape,), 1, CPU)
    every = basis.directions(slice(0, basis.size))
    torch.testing.assert_close(every.norm(dim=1), torch.ones(basis.size).double(), rtol=0, atol=1e-12)
    numbers = torch.tensor(data.draw(st.lists(st.integers(0, basis.size - 1), max_size=5)), dtype=torch.long)
    assert torch.equal(basis.directions(numbers), every[numbers])
    start = data.draw(st.integers(0, basis.size - 1))
    assert torch.equal(basis.directions(slice(start, basis.size)), every[start:])
    assert basis.order().sort().values.tolist() == list(range(basis.size))


@pytest.mark.parametrize("name", ["orthogonal", "random"])
def test_the_seed_decides(name):
    one, same, other = (rows_of(name, (40,), seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one, same)
    # No direction of another seed is one of these.
    assert float((one @ other.T).abs().max()) < 0.9


@pytest.mark.parametrize("name", sorted(BASES))
def test_directions_of_an_image_of_imagenet_take_no_more_memory_than_they_have_numbers(name):
    features = 3 * 224 * 224
    basis = BASES[name](((3, 224, 224),), 0, CPU)
    rows = basis.directions(basis.order()[100_000:100_004])
    assert rows.shape == (4, features)
    # Independent ones are orthogonal up to 1 / sqrt(d).
    tolerance = 5 * features**-0.5 if name == "random" else 1e-12
    torch.testing.assert_close(rows @ rows.T, torch.eye(4).double(), rtol=0, atol=tolerance)


def test_random_directions_move_nearly_all_features_none_of_them_far():
    features = 3 * 224 * 224
    rows = RandomCosines(features, 0, CPU).directions(slice(100_000, 100_004))
    assert float(rows.abs().max()) <= (2 / features) ** 0.5 * (1 + 1e-12)
    assert float((rows.abs() > 0.1 * features**-0.5).double().mean()) > 0.9


def test_signs_of_directions_spread_an_error_that_all_differences_share():
    total = RandomCosines(256, 0, CPU).directions(slice(0, 256)).sum(dim=0)
    # Without these signs the cosines add up to a few features.
    assert float(total.abs().max()) < 5


def test_the_probability_of_independent_directions_is_the_same_everywhere():
    """E[u u^T] is the identity over d, entry by entry, to five standard deviations of the mean."""
    rows = torch.cat([rows_of("random", (6,), seed=seed) for seed in range(300)])
    mean = rows.T @ rows / len(rows)
    torch.testing.assert_close(mean, torch.eye(6).double() / 6, rtol=0, atol=5 * 0.23 / len(rows) ** 0.5)


# The order of pictures


@pytest.mark.parametrize("name", ["cosine", "haar"])
def test_the_first_directions_are_the_mean_and_what_is_nearly_flat(name):
    flat = torch.full((48,), 48**-0.5, dtype=torch.float64)
    rows = rows_of(name, (3, 4, 4))
    torch.testing.assert_close(rows[0], flat, rtol=0, atol=1e-12)
    changes = rows.reshape(48, 3, 4, 4).diff(dim=3).square().sum(dim=(1, 2, 3))
    assert float(changes[:16].mean()) < float(changes[32:].mean())


def test_luma_comes_before_the_colours_of_the_same_frequency():
    rows = rows_of("cosine", (3, 8, 8)).reshape(192, 3, 64)
    luma = torch.tensor([(own.std(dim=0) < 1e-12).all() for own in rows])
    assert luma[: int(8 / CHROMA)].all()
    assert luma[:96].sum() > 55
    # Other channels are not colours: each has functions of its own.
    other = rows_of("cosine", (5, 8, 8)).reshape(320, 5, 64)
    assert ((other != 0).any(dim=2).sum(dim=1) == 1).all()


def test_a_cosine_direction_is_the_product_of_cosines():
    basis = BASES["cosine"](((1, 6, 10),), 0, CPU)
    row = basis.directions(torch.tensor([2 * 10 + 3])).reshape(6, 10)
    along = [torch.cos(math.pi * (2 * torch.arange(n).double() + 1) * k / (2 * n)) for n, k in ((6, 2), (10, 3))]
    torch.testing.assert_close(row, along[0][:, None] * along[1] * math.sqrt(2 / 6 * 2 / 10), rtol=0, atol=1e-14)


def test_haar_functions_of_a_power_of_two_are_the_known_ones():
    rows = rows_of("haar", (4,)).abs().sort(dim=1).values
    half, root = [0.5] * 4, [0.0, 0.0, 0.5**0.5, 0.5**0.5]
    torch.testing.assert_close(rows, torch.tensor([half, half, root, root], dtype=torch.float64), rtol=0, atol=1e-15)


# Groups


def test_groups_move_their_features_by_the_same():
    rows = Groups(torch.tensor([0, 1, 0, 2, 1, 0])).directions(slice(0, 3))
    assert_orthonormal(rows)
    expected = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]).double()
    torch.testing.assert_close(rows, expected / expected.norm(dim=1, keepdim=True), rtol=0, atol=1e-15)
