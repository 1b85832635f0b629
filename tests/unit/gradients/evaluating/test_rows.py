import functools
import itertools
import threading

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import ApproxAttribution, ExactGradient, FiniteDifference, attribute
from approxgrad.gradients.evaluating.rows import RowError, check_rows
from problems import points, quadratic, small_cnn, softplus_mlp

ROWS = points(5, 4)
EPS = torch.finfo(torch.float32).eps


def weighted(x):
    return (x * torch.arange(1.0, 5.0, dtype=x.dtype)).sum(dim=1)


class Counter:
    """A model with different outputs in every call."""

    def __init__(self):
        self.calls = itertools.count()

    def __call__(self, x):
        return weighted(x) + next(self.calls)


class Capacity:
    """An expert that only serves the first two rows of a batch."""

    def __call__(self, x):
        return torch.where(torch.arange(len(x)) < 2, weighted(x), 0)


def scaled_by_the_batch(x):
    scale = x.abs().max() / 127
    return weighted(torch.round(x / scale) * scale)


def sorted_by_the_batch(x):
    return torch.sort(weighted(x))[0]


DEPENDENT = {
    "mean of the batch": lambda x: weighted(x - x.mean(dim=0)),
    "softmax over the batch": lambda x: torch.softmax(weighted(x), dim=0),
    "number of the row": lambda x: weighted(x) + torch.arange(len(x)),
    "size of the batch": lambda x: weighted(x) / len(x),
    "first row": lambda x: weighted(x) - weighted(x[:1]),
    "neighbour": lambda x: weighted(x + x.roll(1, 0)),
    "scale of the batch": scaled_by_the_batch,
    "order": sorted_by_the_batch,
    "capacity": Capacity(),
    "normalisation": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1))
    .double()
    .eval(),
}
RANDOM = {
    "noise": lambda x: weighted(x) + torch.randn(len(x)),
    "noise of numpy": lambda x: weighted(x) + torch.from_numpy(np.random.default_rng().normal(size=len(x))),
    "dropout": lambda x: weighted(nn.functional.dropout(x, 0.5, training=True)),
    "calls": Counter(),
    "faint noise": lambda x: weighted(x) * (1 + 1e-9 * torch.rand(len(x), dtype=x.dtype)),
}


@pytest.mark.parametrize("model", DEPENDENT.values(), ids=DEPENDENT)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rows_that_see_each_other_are_refused(model, rows):
    with pytest.raises(RowError, match=r"^model: .*batch_size=1.*$"):
        check_rows(model, ROWS[:rows])


@pytest.mark.parametrize("model", RANDOM.values(), ids=RANDOM)
@pytest.mark.parametrize("batch_size", [None, 1])
def test_random_models_are_refused_even_row_by_row(model, batch_size):
    expected = r"^model: outputs differ by \S+ between two evaluations of the same row; expected a model without random"
    with pytest.raises(RowError, match=expected):
        check_rows(model, ROWS, batch_size=batch_size)


USES = {
    "finite difference": lambda model, **o: FiniteDifference(0.1, **o)(model, ROWS),
    "exact gradient": lambda model, **o: ExactGradient(**o)(model, ROWS),
    "attribution": lambda model, **o: attribute(model, ROWS, gradient=FiniteDifference(0.1, **o)),
    "exact attribution": lambda model, **o: attribute(model, ROWS, gradient=ExactGradient(**o)),
    "path": lambda model, **o: attribute(
        model, ROWS, method="integrated_gradients", gradient=FiniteDifference(0.1, **o), n_steps=3
    ),
    "own source": lambda model, **o: attribute(model, ROWS, gradient=lambda f, x, *_: (torch.ones_like(x[0]),), **o),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_is_checked_wherever_a_model_enters(use):
    with pytest.raises(RowError):
        use(DEPENDENT["mean of the batch"])
    use(DEPENDENT["mean of the batch"], check_rows=False)


def test_the_original_interface_checks_too():
    with pytest.raises(RowError):
        ApproxAttribution(DEPENDENT["mean of the batch"]).grad_approx(h=0.1, X=list(ROWS))


def test_attribute_has_a_switch_of_its_own():
    attribute(DEPENDENT["neighbour"], ROWS, gradient=FiniteDifference(0.1), check_rows=False)


def test_one_row_at_a_time_makes_dependent_rows_usable():
    for batch_size in (2, 3, None):
        with pytest.raises(RowError):
            FiniteDifference(0.5, batch_size=batch_size)(scaled_by_the_batch, ROWS)
    (gradient,) = FiniteDifference(0.5, batch_size=1)(scaled_by_the_batch, ROWS)
    for row, own in zip(ROWS, gradient, strict=True):
        moved = [scaled_by_the_batch((row + 0.5 * unit)[None]) for unit in torch.eye(4, dtype=row.dtype)]
        torch.testing.assert_close(own, (torch.cat(moved) - scaled_by_the_batch(row[None])) / 0.5)


def test_a_repeated_row_may_differ_by_fewer_roundings_than_one_in_another_batch():
    calls = itertools.count()

    def unsteady(x):
        return weighted(x.abs()) * (1 + 32 * torch.finfo(x.dtype).eps * (next(calls) % 2))

    with pytest.raises(RowError, match="two evaluations of the same row"):
        check_rows(unsteady, ROWS)
    check_rows(lambda x: weighted(x.abs()) * (1 + 32 * torch.finfo(x.dtype).eps * (len(x) > 1)), ROWS)


def test_half_precision_explains_fewer_roundings():
    with pytest.raises(RowError, match="a row alone and the same row beside others"):
        check_rows(lambda x: weighted(x.abs()).half() * (1 + 60 * 2.0**-10 * (len(x) > 1)), ROWS)
    check_rows(lambda x: weighted(x.abs()).half() * (1 + 6 * 2.0**-10 * (len(x) > 1)), ROWS)


def test_a_batch_size_is_never_exceeded():
    sizes = set()
    for size in (1, 2, 3, 5):
        check_rows(lambda x: sizes.add(len(x)) or weighted(x), ROWS, batch_size=size)
        assert max(sizes) <= size


def test_what_shows_only_in_the_batches_of_the_engine_is_seen_there():
    def crowded(x):
        return weighted(x) + (len(x) > 20)

    check_rows(crowded, ROWS)
    with pytest.raises(RowError, match="a row alone and the same row in a batch of the engine"):
        FiniteDifference(0.1)(crowded, ROWS)
    FiniteDifference(0.1, batch_size=20)(crowded, ROWS)


# Models that are accepted


class Half(nn.Module):
    """A network of half precision that takes and returns float32."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 300), nn.Tanh(), nn.Linear(300, 3)).half()

    def forward(self, x):
        return self.layers(x.half()).float()


def rounded(model, decimals):
    return lambda x: torch.round(model(x), decimals=decimals)


SOUND = {
    "float64 on float32 inputs": lambda x: weighted(x.double()),
    "float32 on float64 inputs": lambda x: weighted(x.float()).double(),
    "half precision inside": lambda x: weighted(x.half()).to(x.dtype),
    "half precision in a module": Half().eval(),
    "cancellation": lambda x: (weighted(x) + 1e6) - 1e6,
    "probabilities near 0": lambda x: torch.softmax(torch.stack([weighted(x), weighted(x) + 80], 1), 1)[:, 0],
    "rounded": rounded(weighted, 2),
    "classes as scores": lambda x: (weighted(x) > 0).to(x.dtype),
    "refuses large numbers": lambda x: weighted(x) if (x.abs() < 6).all() else 1 / 0,
    "logarithm": lambda x: weighted(torch.log(x.abs() + 0.1)),
    "NaN for others": lambda x: weighted(x) + 0 * torch.log(6 + x).sum(dim=1),
    "constant": lambda x: torch.zeros(len(x)),
    "numpy": lambda x: np.exp(x.numpy()).sum(axis=1),
    "cached": functools.lru_cache(maxsize=None)(lambda x: weighted(x)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("model", SOUND.values(), ids=SOUND)
def test_sound_models_pass(model, dtype):
    for rows in (1, 5):
        check_rows(model, ROWS[:rows].to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_networks_whose_batches_are_rounded_differently_pass(dtype):
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(300, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 3)).eval()
    check_rows(wide.to(dtype), torch.randn(40, 300).to(dtype))
    check_rows(small_cnn(torch.float32), torch.randn(3, 2, 4, 4))


def test_the_cost_is_counted():
    seen = []
    for rows, evaluations in ((1, 10), (2, 12), (5, 18), (50, 18)):
        seen.clear()
        assert check_rows(lambda x: seen.append(len(x)) or quadratic(x), points(rows, 3)) == evaluations
        assert sum(seen) == evaluations


def test_arguments_with_one_row_for_each_input_go_with_their_row():
    factors = torch.arange(1.0, 6.0, dtype=torch.float64)
    check_rows(lambda x, f: f * weighted(x), ROWS, (factors,))
    check_rows(lambda x, f: f.sum() * weighted(x), ROWS, (factors[:3],))
    with pytest.raises(RowError):
        check_rows(lambda x, f: f.sum() * weighted(x), ROWS, (factors,))


def test_the_inputs_are_left_as_they_were():
    x = ROWS.clone().requires_grad_()
    check_rows(lambda batch: batch.mul_(2).sum(dim=1), x)
    assert torch.equal(x, ROWS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: 1 / 0, r"fails for 1 torch.float64 row of shape \(4,\) \(ZeroDivisionError: division by zero\)"),
        (lambda x: weighted(x)[:1], r"returned shape \(1,\) for 6 rows"),
        (
            lambda x: x[:, :1] if len(x) > 1 else 1 / 0,
            "although not for 6: its rows depend on each",
        ),
        (
            lambda x: weighted(x) if len(x) == 1 else 1 / 0,
            r"fails for 6 .* rows of .*although not for single rows",
        ),
        (lambda x: x.sum(), r"returned shape \(\) for"),
    ],
    ids=["fails", "rows lost", "not alone", "only alone", "a sum"],
)
def test_a_model_that_fails_is_one_line(model, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_rows(model, ROWS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [1, 40])
def test_what_a_model_raises_itself_is_told_in_one_line(rows):
    class OwnError(Exception):
        pass

    def failing(x):
        if len(x) >= rows:
            raise OwnError("no\nand no")
        return weighted(x)

    with pytest.raises(
        RowError, match=r"^model: fails for \d+ torch.float64 rows? of shape \(4,\) \(OwnError: no and no\)$"
    ) as caught:
        FiniteDifference(0.1)(failing, points(20, 4))
    assert isinstance(caught.value.__cause__, OwnError)


def test_a_failing_model_of_single_rows_needs_batches_of_one():
    def single(x):
        if len(x) > 1:
            raise RuntimeError("Got 2 rows, expected 1")
        return weighted(x)

    with pytest.raises(RowError, match=r"expected 1.*batch_size=1"):
        FiniteDifference(0.5)(single, ROWS)
    (gradient,) = FiniteDifference(0.5, batch_size=1)(single, ROWS)
    torch.testing.assert_close(gradient, torch.arange(1.0, 5.0, dtype=torch.float64).expand(5, 4))


def test_layers_in_training_mode_that_change_with_every_evaluation():
    layers = [
        nn.LSTM(4, 3, 2, dropout=0.5, batch_first=True),
        nn.MultiheadAttention(4, 2, dropout=0.1),
        nn.InstanceNorm1d(4, track_running_stats=True),
        nn.RReLU(),
        nn.utils.spectral_norm(nn.Linear(4, 4)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
    ]
    for layer in layers:
        model = nn.Sequential(layer).train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=r"is in training mode; call model.eval\(\) first"):
            FiniteDifference(0.1)(model, points(3, 2, 4).float(), 0)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_two_threads_on_one_module_get_their_own_results():
    model, batches = small_cnn(), [points(3, 2, 4, 4, seed=seed) for seed in range(2)]
    alone = [attribute(model, batch, target=1, gradient=FiniteDifference(0.1)) for batch in batches]
    found: dict[int, list] = {0: [], 1: []}

    def work(number):
        for _ in range(10):
            found[number].append(attribute(model, batches[number], target=1, gradient=FiniteDifference(0.1)))

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, alone[number]) for number, own in found.items() for result in own)


def test_no_attribute_of_a_users_object_means_anything():
    class Answering:
        """Has every attribute."""

        def __getattr__(self, name):
            return 7 if not name.startswith("__") else super().__getattribute__(name)

        def __call__(self, x):
            return quadratic(x)

    class Named:
        n_steps, memory_budget, weights_in_order, batch_size, evaluations, same_outputs = 1000, 1, True, 1, 0, False
        __wrapped__ = softplus_mlp()

        def __call__(self, x):
            return quadratic(x)

    for model in (Answering(), Named()):
        for gradient in ("exact", FiniteDifference(0.5, "central")):
            result = attribute(model, ROWS[:, :3], method="input_x_gradient", gradient=gradient)
            expected = attribute(quadratic, ROWS[:, :3], method="input_x_gradient", gradient=gradient)
            assert torch.equal(result, expected)
