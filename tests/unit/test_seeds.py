import hashlib

import numpy as np
import pytest

from approxgrad.seeds import derive_seed, draw_samples


def test_seeds_are_stable_and_fit_into_63_bits():
    digest = hashlib.sha256(b"0\0samples\0digits").digest()
    assert derive_seed(0, "samples", "digits") == int.from_bytes(digest[:8], "big") // 2
    assert all(0 <= derive_seed(seed, "x") < 2**63 for seed in range(100))


def test_seeds_depend_on_the_number_and_on_every_name():
    names = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (0, "b", "a")]
    assert len({derive_seed(*arguments) for arguments in names}) == len(names)


def test_a_smaller_count_draws_the_first_samples_of_a_larger_one():
    larger = draw_samples(300, 50, seed=7)
    np.testing.assert_array_equal(draw_samples(300, 20, seed=7), larger[:20])


def test_samples_are_distinct_rows_in_random_order():
    samples = draw_samples(30, 30, seed=1)
    assert samples.dtype == np.int64
    assert sorted(samples) == list(range(30))
    assert list(samples) != sorted(samples)
    assert (samples != draw_samples(30, 30, seed=2)).any()


@pytest.mark.parametrize("count", [0, -1, 11])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ValueError, match=rf"^samples: got {count}, expected 1 to 10, the number of test rows$"):
        draw_samples(10, count, seed=0)
