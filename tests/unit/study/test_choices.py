"""Steps that are chosen once for the cells of a study: which there are, how they are made, and their tables."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model
from approxgrad.seeds import draw_samples
from approxgrad.steps.choice import StepChoice
from approxgrad.storage.splits import Split, write_split
from approxgrad.storage.step_tables import read_choice, write_choice
from approxgrad.storage.table_checks import TableError
from approxgrad.study import chosen_steps, subjects
from approxgrad.study.chosen_steps import choose_model_step
from approxgrad.study.needs import choice_path
from small_cells import saved_perceptron
from small_studies import DEFAULT, difference, entry, source, study

FEATURES, SEED = 4, 11
CHOICE = StepChoice(
    step=0.25,
    scheme="forward",
    regime="smooth",
    noise=1e-7,
    curvature=2.0,
    kink_distance=None,
    error=1e-4,
    evaluations=17,
)


CHOSEN = difference(steps=["auto"])


def test_a_step_is_chosen_once_for_all_that_differentiate_at_the_same_points():
    methods = DEFAULT["methods"] | {
        name: {"attribution": "integrated_gradients", "baseline": baseline, "n_steps": 50}
        for name, baseline in (("number", 0.0), ("half", 0.5), ("list", [0.5] * 12), ("ints", [1] * 12))
    }
    methods["short"] = methods["half"] | {"n_steps": 5}
    methods["floats"] = methods["ints"] | {"baseline": [1.0] * 12}
    one = study(entry(difference(steps=["auto", 0.1]), methods=list(methods)), methods=methods)
    points = {}
    for cell in one.cells:
        if cell.gradient.chosen:
            choice = one.choices[choice_path(one, cell)]
            assert choice.gradient == cell.gradient
            points.setdefault(choice.points, []).append(cell.method)
        else:
            assert choice_path(one, cell) == ""
    lists = [points.pop(name) for name in list(points) if len(name) == len("path-0123456789abcdef-50")]
    assert lists == [["list"], ["ints", "floats"]]
    assert points == {
        "inputs": ["saliency", "input_x_gradient"],
        "path-zero-50": ["integrated_gradients", "integrated_gradients_published", "number"],
        "path-mean-50": ["integrated_gradients_mean", "integrated_gradients_published_mean"],
        "path-0.5-50": ["half"],
        "path-0.5-5": ["short"],
    }


def test_every_model_scheme_and_precision_has_its_own_choice():
    both = [difference(scheme, ["auto"], ["float32", "float64"]) for scheme in ("forward", "central")]
    one = study(entry(*both, datasets=["digits"]), entry(CHOSEN))
    assert [tuple(choice.keys.values()) for choice in one.choices.values()] == [
        ("digits", "mlp", "inputs", "forward-auto"),
        ("digits", "mlp", "inputs", "forward-auto-float64"),
        ("digits", "mlp", "inputs", "central-auto"),
        ("digits", "mlp", "inputs", "central-auto-float64"),
        ("synthetic_linear", "mlp", "inputs", "forward-auto"),
    ]
    assert not study(entry()).choices


@pytest.mark.parametrize(("samples", "rows"), [((10, 30), 30), ((30, 10), 30), ((300, 10), 64)])
def test_a_choice_takes_the_rows_of_the_cell_with_the_most_but_no_more_than_needed(samples, rows):
    methods = zip(("saliency", "input_x_gradient"), samples, strict=True)
    entries = (entry(CHOSEN, methods=[name], samples=count) for name, count in methods)
    (choice,) = study(*entries).choices.values()
    assert choice.samples == rows


def test_the_path_of_a_choice_is_plain_whatever_the_configuration_writes():
    methods = {"own": {"attribution": "integrated_gradients", "baseline": [0.5] * 12, "n_steps": 7}}
    (choice,) = study(entry(CHOSEN, methods=["own"]), methods=methods).choices.values()
    assert choice.path_options == {"baseline": [0.5] * 12, "n_steps": 7}


@pytest.fixture
def files(tmp_path):
    """Weights, test and training split of a regression."""
    for part, rows in (("test", 8), ("train", 20)):
        write_split(tmp_path / part, split(rows), {})
    return saved_perceptron(tmp_path, FEATURES) | {"test": tmp_path / "test", "training": tmp_path / "train"}


def split(rows, **changes):
    random = np.random.default_rng(rows)
    features = random.normal(size=(rows, FEATURES)).astype(np.float32)
    target = random.normal(size=rows).astype(np.float32)
    return Split(features, **{"target": target, "feature_shape": (FEATURES,), "mean": (0.5,), "std": (2.0,)} | changes)


def chosen(files, *, scheme="forward", dtype="float32", **changes):
    options = {
        "path_options": {},
        "gradient": source("auto", dtype, scheme).entry,
        "samples": 5,
        "sample_seed": SEED,
        "seed": 3,
    }
    return choose_model_step(**files, **options | {"memory_mib": None, "device": torch.device("cpu")} | changes)


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the choice, which is not made."""
    calls = []

    def choose_step(model, inputs, target, scheme, **options):
        calls.append({"inputs": inputs, "target": target, "scheme": scheme} | options)
        return CHOICE

    monkeypatch.setattr(chosen_steps, "choose_step", choose_step)
    return calls


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_chosen_with_the_first_of_the_drawn_rows(files, asked, dtype):
    _, metadata = chosen(files, dtype=dtype, scheme="central")
    (call,) = asked
    rows = split(8).rows(draw_samples(8, 8, SEED)).model_inputs()[:5]
    np.testing.assert_array_equal(call["inputs"], rows)
    assert str(call["inputs"].dtype) == f"torch.{dtype}"
    assert (call["target"], call["scheme"], call["seed"]) == (None, "central", 3)
    assert not {"baselines", "n_steps"} & call.keys()
    assert (metadata["samples"], metadata["dtype"], metadata["path"]) == (5, dtype, {})


def test_a_path_is_told_to_the_choice(files, asked):
    chosen(files, path_options={"baseline": "mean", "n_steps": 7}, samples=99)
    (call,) = asked
    np.testing.assert_allclose(call["baselines"], split(20).model_inputs().mean(axis=0), rtol=0, atol=1e-6)
    assert (call["n_steps"], len(call["inputs"])) == (7, 8)


def test_a_step_is_chosen_for_the_explained_outputs(files, asked):
    labels = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    description = {"architecture": "mlp", "input_shape": (FEATURES,), "outputs": 2, "hidden": [6], "dropout": 0.0}
    save_model(files["weights"], build_model(**description), description)
    write_split(files["test"], split(8, target=labels, classes=("a", "b")), {})
    chosen(files, samples=8)
    assert asked[0]["target"].tolist() == labels[draw_samples(8, 8, SEED)].tolist()


def test_batches_follow_the_model_or_else_the_memory(files, asked):
    wide = {"architecture": "mlp", "input_shape": (FEATURES,), "outputs": 1, "hidden": [3000], "dropout": 0.0}
    save_model(files["weights"], build_model(**wide), wide)
    for options in ({}, {"memory_mib": 1}, {"memory_mib": 1, "batch_size": 3}):
        chosen(files, **options)
    usual, small, own = (call["batch_size"] for call in asked)
    assert usual > small
    assert small != own == 3


def test_the_seed_decides_and_the_check_of_the_rows_does_not(files):
    first, metadata = chosen(files)
    again, unchecked = chosen(files, check_rows=False)
    assert first == again
    assert chosen(files, seed=4)[0].noise != first.noise
    assert metadata["check_evaluations"] > unchecked["check_evaluations"]


def test_a_model_that_is_no_function_of_its_rows_is_refused(files, monkeypatch):
    class Centred(torch.nn.Module):
        def forward(self, rows):
            return (rows - rows.mean(dim=0)).sum(dim=1)

    monkeypatch.setattr(subjects, "open_model", lambda *_: Centred())
    with pytest.raises(ValueError, match=r"^model: .*batch_size=1 evaluates rows one by one"):
        chosen(files)


def test_a_choice_survives_its_file(tmp_path):
    path = tmp_path / "step.parquet"
    write_choice(path, CHOICE, {"dtype": "float32"})
    assert read_choice(path, "forward") == asdict(CHOICE)
    # What a choice lacks does not decide the type of a column, which is that of all files.
    for regime, values in (("smooth", (2.0, None)), ("kinks", (None, 0.5))):
        folder = tmp_path / "all" / f"model={regime}"
        folder.mkdir(parents=True)
        own = replace(CHOICE, regime=regime, curvature=values[0], kink_distance=values[1])
        write_choice(folder / "part-0.parquet", own, {})
    table = pd.read_parquet(tmp_path / "all").set_index("model")
    assert table.loc["kinks", "kink_distance"] == 0.5
    assert table.loc["smooth", "curvature"] == 2.0


@dataclass
class Loose:
    """A choice of which anything may be said."""

    step: float | None
    scheme: str = "forward"
    noise: float = 0.0


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (Loose(0.0), "step is 0.0, expected a positive number"),
        (Loose(-1.0), "step is -1.0, expected a positive number"),
        (Loose(None), "step is None, expected a positive number"),
        (Loose(float("inf")), "step is inf, expected a positive number"),
        (Loose(float("nan")), "step is nan, expected a positive number"),
        (Loose(0.1, scheme="central"), "holds a step for the scheme 'central', expected 'forward'"),
    ],
)
def test_a_table_without_a_usable_step_is_refused(tmp_path, choice, complaint):
    write_choice(tmp_path / "step.parquet", choice, {})
    with pytest.raises(TableError, match=f"step.parquet: {complaint}$"):
        read_choice(tmp_path / "step.parquet", "forward")


def test_what_is_not_finite_is_not_told(tmp_path):
    write_choice(tmp_path / "step.parquet", Loose(0.1, noise=float("inf")), {})
    assert read_choice(tmp_path / "step.parquet", "forward") == {"step": 0.1, "scheme": "forward", "noise": None}


def test_another_table_is_no_choice(files):
    with pytest.raises(TableError, match=r"test: does not hold one chosen step$"):
        read_choice(files["test"], "forward")
