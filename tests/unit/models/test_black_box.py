"""What models that can be evaluated only have in common: forms of inputs, batches, types, transforms."""

import numpy as np
import pandas as pd
import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.models.black_box import BlackBox
from approxgrad.models.kind import ModelError

ROWS = np.arange(14, dtype=np.float32).reshape(7, 2)


class Doubling(BlackBox):
    """Returns sums and products of two features; notes the shapes of its batches and writes to what it is given."""

    shape = (2,)

    def __init__(self, **options):
        super().__init__(**options)
        self.batches = []

    def outputs(self, rows):
        assert rows.flags.c_contiguous
        assert rows.dtype == self.dtype
        self.batches.append(rows.shape)
        found = np.stack([rows.sum(axis=1), rows.prod(axis=1)], axis=1)
        rows[:] = 0
        return found


EXPECTED = np.stack([ROWS.sum(axis=1), ROWS.prod(axis=1)], axis=1)


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({}, [7]),
        ({"batch_size": 3}, [3, 3, 1]),
        ({"batch_size": 9}, [7]),
        ({"batch_size": 3, "fixed_batch": True}, [3, 3, 3]),
        ({"batch_size": 8, "fixed_batch": True}, [8]),
        ({"batch_size": 1, "fixed_batch": True}, [1] * 7),
    ],
)
def test_rows_are_given_in_batches(options, batches):
    model = Doubling(**options)
    before = ROWS.copy()
    assert np.array_equal(model(ROWS), EXPECTED)
    assert np.array_equal(ROWS, before)
    assert [len(shape) and shape[0] for shape in model.batches] == batches


def test_tensors_arrays_and_frames():
    model = Doubling()
    tensor = torch.from_numpy(ROWS)
    assert torch.equal(model(tensor), torch.from_numpy(EXPECTED))
    assert torch.equal(model(tensor.double()), torch.from_numpy(EXPECTED))
    assert torch.equal(model(tensor.bfloat16()), torch.from_numpy(EXPECTED))
    assert torch.equal(model(tensor.t().contiguous().t().requires_grad_()), torch.from_numpy(EXPECTED))
    assert np.array_equal(model(pd.DataFrame(ROWS).astype(int)), EXPECTED)
    assert np.array_equal(model(ROWS.astype(">f8")), EXPECTED)
    assert np.array_equal(model(ROWS.tolist()), EXPECTED)
    assert type(model(ROWS)) is np.ndarray
    with pytest.raises(ModelError, match=r"^inputs: column 'b' holds (str|object), expected numbers; "):
        model(pd.DataFrame({"a": [1.0], "b": ["x"]}))
    with pytest.raises(ModelError, match=r"^inputs: are float64, the model takes float32"):
        model(tensor.double() + 1e-12)
    assert np.isnan(model(ROWS * np.nan)).all()
    assert np.isnan(model(ROWS.astype(float) * np.nan)).all()
    rounding = Doubling(round_inputs=True)
    assert torch.equal(rounding(tensor.double() * (1 + 1e-12)), torch.from_numpy(EXPECTED))


def test_channels_come_last_in_the_model():
    class Last(BlackBox):
        shape = (3, None, 5)

        def outputs(self, rows):
            assert rows.shape[1:] == (4, 5, 3)
            return rows.reshape(len(rows), -1)

    images = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    assert np.array_equal(Last(channels_last=True)(images), images.transpose(0, 2, 3, 1).reshape(2, -1))
    with pytest.raises(
        ModelError, match=r"takes \(N, 3, any, 5\); inputs have the channels first, the model gets them"
    ):
        Last(channels_last=True)(images.transpose(0, 2, 3, 1))


def test_log_and_logit_are_inverse_to_softmax_and_sigmoid():
    class Given(BlackBox):
        dtype = np.dtype(np.float64)

        def outputs(self, rows):
            return rows

    logits = np.random.default_rng(0).normal(size=(5, 3)) * 3
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    log = Given(transform="log")(softmax)
    np.testing.assert_allclose(np.diff(log), np.diff(logits), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(Given(transform="logit")(1 / (1 + np.exp(-logits))), logits, rtol=1e-12, atol=1e-12)


def test_it_is_attributed_in_its_own_type():
    rows = pd.DataFrame(ROWS, columns=["a", "b"]).astype(float) / 3  # which float32 does not hold
    found = attribute(Doubling(), rows, target=1, method="gradient", gradient=FiniteDifference(0.25, "central"))
    expected = rows[["b", "a"]].to_numpy()
    # A rounding of products of size 20 in float32, over the step.
    np.testing.assert_allclose(found, expected, rtol=0, atol=20 * np.finfo(np.float32).eps / 0.25)


def test_wrong_arguments_and_outputs_are_one_line():
    with pytest.raises(
        ValueError, match=r"^batch_size: is missing, expected the number of rows that a fixed batch has$"
    ):
        Doubling(fixed_batch=True)
    with pytest.raises(ValueError, match=r"^batch_size: expected a positive integer, got 0$"):
        Doubling(batch_size=0)

    class Integers(Doubling):
        def outputs(self, rows):
            return rows.astype(int)

    with pytest.raises(TypeError, match=r"^model: returned torch.int64 outputs, expected floating-point numbers"):
        Integers()(torch.from_numpy(ROWS))


def test_files_and_digests(tmp_path):
    class Files(Doubling):
        files = (tmp_path / "a" / "model", tmp_path / "b" / "model")

    for path in Files.files:
        path.parent.mkdir()
        path.write_text(str(path))
    assert list(Files().digests()) == ["model", "../b/model"]
    assert len(set(Files().digests().values())) == 2
    with Files() as model:
        assert model.files == Files.files
    assert Doubling().digests() == {}
