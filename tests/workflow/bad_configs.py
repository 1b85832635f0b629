"""Configurations that are refused: what is wrong, what is written, and all that is said."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from approxgrad.models.origins import Training
from approxgrad.study.configuration import SECTIONS
from approxgrad.study.sections import Config

TOP, TRAINING = (", ".join(sorted(field.name for field in fields(section))) for section in (Config, Training))
DATASETS = "digits, synthetic_linear, synthetic_nonlinear"
MODELS = "boosted_trees, cnn, cnn_int8, cnn_onnx, mlp, resnet18"
EXACT_METHODS = "input_x_gradient, integrated_gradients, integrated_gradients_mean, saliency"
METHODS = (
    "input_x_gradient, integrated_gradients, integrated_gradients_mean, integrated_gradients_published, "
    "integrated_gradients_published_mean, saliency"
)
GRADIENTS = (
    "all_features, along_path, central, central_in_spreads, central_small, chosen, forward, forward_on_tables, "
    "precisions, tenth"
)
STEP = "expected a number of at least 1e-30, auto or path"
FINITE = "expected a finite number, auto or path"
NAME = "expected: Letters, digits, _ and -, starting with a letter or digit."
READ_BACK = (
    "which readers of the tables take for a number, a date, a truth value or a missing value; "
    "choose another name, such as "
)


@dataclass(frozen=True)
class Bad:
    """A configuration that is refused.

    Attributes
    ----------
    what : str
        What is wrong with it.
    config : dict or bytes
        What is merged with the default study, or the content of ``config.yaml`` itself.
    lines : tuple of str
        Everything that is said.
    """

    what: str
    config: Any
    lines: tuple[str, ...]


def bad(what: str, config: Any, *lines: str) -> Bad:
    return Bad(what, config, lines)


def experiment(**changes: Any) -> dict[str, Any]:
    entry = {"datasets": ["digits"], "models": ["cnn"], "methods": ["saliency"], "gradients": ["tenth"], "samples": 2}
    return {"experiments": [entry | changes]}


def source(**changes: Any) -> dict[str, Any]:
    return {"gradients": {"tenth": changes}}


def dataset(**options: Any) -> dict[str, Any]:
    return {"datasets": {"own": options}}


def table(**changes: Any) -> dict[str, Any]:
    return dataset(
        **{"kind": "table", "task": "regression", "path": "t.csv", "features": ["a"], "target": "y"} | changes
    )


def model(**options: Any) -> dict[str, Any]:
    return {"models": {"own": options}}


def options(**given: Any) -> dict[str, Any]:
    return model(factory="a:b", training={"epochs": 1, "batch_size": 2, "learning_rate": 0.1}, options=given)


def cached(**changes: Any) -> dict[str, Any]:
    options = {"folder": "x", "pattern": "{method}_{step}.npz", "methods": {"s": "saliency"}, "steps": {"low": 0.1}}
    return {"cached_arrays": {"own": options | changes}}


FIRST = "experiments[0]"
STEPS = "gradients.tenth.steps"
CONFIGS = [
    bad(
        "an option that is not a plain value",
        options(a=[1, {"b": b"x"}]),
        "models.own.options.a[1].b: got b'x', expected null, true, false, a number, text, a list or a mapping",
    ),
    bad(
        "options that are not arguments",
        model(factory="a:b", training={"epochs": 1, "batch_size": 2, "learning_rate": 0.1}, options={1: 2, "a b": 3}),
        "models.own.options: got the name 1, expected one that Python takes for an argument",
        "models.own.options: got the name 'a b', expected one that Python takes for an argument",
    ),
    bad(
        "a misspelt key",
        {"expermints": []},
        f"expermints: unknown key, expected one of {TOP} (did you mean experiments?)",
    ),
    bad(
        "a misspelt key inside",
        {"models": {"mlp": {"training": {"epoch": 3}}}},
        f"models.mlp.training.epoch: unknown key, expected one of {TRAINING} (did you mean epochs?)",
    ),
    bad(
        "an option that a method does not have",
        {"methods": {"saliency": {"colour": 1}}},
        "methods.saliency.colour: unknown key, expected one of attribution, signed",
    ),
    bad("a key of two lines", {"a\nb": 1}, f"'a\\nb': unknown key, expected one of {TOP}"),
    bad("text for a number", {"seed": "zero"}, "seed: got 'zero', expected an integer"),
    bad("a list for a mapping", {"models": {"mlp": ["hidden"]}}, "models.mlp: got ['hidden'], expected a mapping"),
    bad("truth for a number", {"threads": True}, "threads: got True, expected an integer"),
    bad("a fraction for a count", experiment(samples=2.0), f"{FIRST}.samples: got 2.0, expected an integer"),
    bad("a negative seed", {"seed": -1}, "seed: got -1, expected at least 0"),
    bad("an unknown device", {"device": "gpu"}, "device: got 'gpu', expected one of auto, cpu, cuda"),
    bad(
        "an infinite number",
        {"map_setting": math.inf},
        "map_setting: got inf, expected a finite number or recommended",
    ),
    bad("more threads than machines have", {"threads": 10**40}, f"threads: got {10**40}, expected at most 1024"),
    bad("no experiment", {"experiments": []}, "experiments: got [], expected at least 1 value(s)"),
    bad("experiments left out", {"experiments": None}, "experiments: is missing"),
    bad("an experiment without samples", experiment(samples=None), f"{FIRST}.samples: is missing"),
    bad(
        "an experiment that is text",
        {"experiments": ["all"]},
        f"{FIRST}: got 'all', expected a mapping with datasets, models, methods, samples, gradients, "
        "samples_by_method, reference",
    ),
    bad("an unknown model", experiment(models=["cnm"]), f"{FIRST}.models: got 'cnm', expected one of {MODELS}"),
    bad("an unknown method", experiment(methods=["x"]), f"{FIRST}.methods: got 'x', expected one of {METHODS}"),
    bad("an unknown data set", experiment(datasets=["x"]), f"{FIRST}.datasets: got 'x', expected one of {DATASETS}"),
    bad(
        "an unknown gradient source",
        experiment(gradients=["tenths"]),
        f"{FIRST}.gradients: got 'tenths', expected one of {GRADIENTS}",
    ),
    bad(
        "an unknown scheme",
        source(difference="sideways"),
        "gradients.tenth.difference: got 'sideways', expected one of forward, backward, central",
    ),
    bad(
        "a source of no kind",
        {"gradients": {"own": {"steps": [1]}}},
        f"gradients.own: expected {' or '.join(f'the key {name}' for name in SECTIONS['gradients'].kinds)}",
    ),
    bad(
        "a method twice",
        experiment(methods=["saliency", "saliency"]),
        f"{FIRST}.methods: got ['saliency', 'saliency'], expected no value twice ('saliency' is)",
    ),
    bad(
        "a step twice, written in two ways",
        source(steps=[0.1, "1e-1"]),
        f"{STEPS}: got [0.1, 0.1], expected no value twice (0.1 is)",
    ),
    bad("no step", source(steps=[]), f"{STEPS}: got [], expected at least 1 value(s)"),
    bad("a step of zero", source(steps=[0]), f"{STEPS}[0]: got 0, {STEP}"),
    bad("a negative step", source(steps=[-0.1]), f"{STEPS}[0]: got -0.1, {STEP}"),
    bad("a step that is not a number", source(steps=[math.nan]), f"{STEPS}[0]: got nan, {FINITE}"),
    bad("an infinite step", source(steps=[math.inf]), f"{STEPS}[0]: got inf, {FINITE}"),
    bad("a step beyond every number", source(steps=[10**400]), f"{STEPS}[0]: got 1{'0' * 56}..., {FINITE}"),
    bad("a step in words", source(steps=["small"]), f"{STEPS}[0]: got 'small', {FINITE}"),
    bad("a step that no precision resolves", source(steps=[1e-300]), f"{STEPS}[0]: got 1e-300, {STEP}"),
    bad(
        "a step too large",
        source(steps=[1e31]),
        f"{STEPS}[0]: got 1e+31, expected a number of at most 1e+30, auto or path",
    ),
    bad(
        "steps in an experiment",
        experiment(gradients=None, schemes=["central"], steps=[0.1]),
        f"{FIRST}.steps: gradient sources have a section of their own now; write `gradients: "
        "{central: {difference: central, steps: [0.1]}}` at the top and `gradients: [central]` here",
    ),
    bad("no sample", experiment(samples=0), f"{FIRST}.samples: got 0, expected at least 1"),
    bad(
        "more samples than test rows",
        experiment(samples=451),
        f"{FIRST}.samples: got 451, expected at most 450, the test rows of digits",
    ),
    bad(
        "samples for a method that is not asked for",
        experiment(samples_by_method={"input_x_gradient": 1}),
        f"{FIRST}.samples_by_method.input_x_gradient: is not among the entry's methods, saliency",
    ),
    bad(
        "a reference method without exact gradients",
        {"methods": {"integrated_gradients_published": {"reference": "saliencey"}}},
        "methods.integrated_gradients_published.reference: got 'saliencey', "
        f"expected a method with an exact counterpart: {EXACT_METHODS}",
    ),
    bad(
        "an image network for a table",
        experiment(datasets=["synthetic_linear"]),
        f"{FIRST}.models: cnn does not fit synthetic_linear: architecture cnn: expected images with sides of at least "
        "4 pixels, got shape (12,)",
    ),
    bad(
        "images too small for the network",
        {**dataset(kind="image_folder", path="photos", size=[3, 9]), **experiment(datasets=["own"])},
        f"{FIRST}.models: cnn does not fit own: architecture cnn: expected images with sides of at least 4 pixels, "
        "got shape (3, 3, 9)",
    ),
    bad(
        "a baseline of another length",
        {"methods": {"integrated_gradients": {"baseline": [0, 1]}}, **experiment(methods=["integrated_gradients"])},
        "methods.integrated_gradients.baseline: got 2 numbers, expected 64, one for each feature of digits",
    ),
    bad(
        "a baseline in words",
        {"methods": {"integrated_gradients": {"baseline": "meen"}}},
        "methods.integrated_gradients.baseline: got 'meen', expected zero, mean, test_mean, a finite number or a list",
    ),
    bad(
        "a normalisation of another length",
        {"datasets": {"digits": {"normalisation": {"mean": [0, 1], "std": [1]}}}},
        "datasets.digits.normalisation.mean: got 2 numbers, expected 1",
    ),
    bad(
        "a normalisation that divides by zero",
        {"datasets": {"digits": {"normalisation": {"std": [0]}}}},
        "datasets.digits.normalisation.std[0]: got 0, expected more than 0",
    ),
    bad("a name that leads out", {"datasets": {"../x": {"kind": "digits"}}}, f"datasets: got '../x', {NAME}"),
    bad("a name with a folder", {"models": {"a/b": {"architecture": "mlp"}}}, f"models: got 'a/b', {NAME}"),
    bad("a name of two lines", {"methods": {"a\n": {"attribution": "saliency"}}}, f"methods: got 'a\\n', {NAME}"),
    bad(
        "a name that is a number", {"datasets": {"2024": {"kind": "digits"}}}, f"datasets: got '2024', {READ_BACK}x2024"
    ),
    bad("a number for a name", {"models": {7: {"architecture": "mlp"}}}, f"models: got '7', {READ_BACK}x7"),
    bad(
        "truth for a name",
        {"methods": {False: {"attribution": "saliency"}}},
        f"methods: got 'False', {READ_BACK}xFalse",
    ),
    bad(
        "cached arrays named after a day",
        {"cached_arrays": {"2024-01-01": cached()["cached_arrays"]["own"]}},
        f"cached_arrays: got '2024-01-01', {READ_BACK}x2024-01-01",
    ),
    bad(
        "cached arrays of a method that is a number",
        cached(methods={"s": "0x1"}),
        f"cached_arrays.own.methods.s: got '0x1', {READ_BACK}x0x1",
    ),
    bad(
        "a name too long for a file",
        {"datasets": {"x" * 300: {"kind": "digits"}}},
        f"datasets: got '{'x' * 56}..., expected at most 100 character(s)",
    ),
    bad(
        "a path that leads out",
        table(path="../t.csv"),
        "datasets.own.path: got '../t.csv', expected a path without '..' or an absolute one",
    ),
    bad("an empty path", table(path=" "), "datasets.own.path: is empty, expected a path"),
    bad(
        "a path of two lines",
        table(path="a\nb.csv"),
        "datasets.own.path: got 'a\\nb.csv', expected printable characters",
    ),
    bad(
        "a table of an unknown kind",
        table(path="t.xlsx"),
        "datasets.own.path: got 't.xlsx', a spreadsheet; save the sheet as .csv (in Excel: Save As, CSV UTF-8)",
    ),
    bad("a target among the features", table(target="a"), "datasets.own.target: got 'a', which is among the features"),
    bad(
        "more images than CIFAR-10 has",
        dataset(kind="cifar10", limit={"test": 10_001}),
        "datasets.own.limit.test: got 10001, expected at most 10000, the rows that there are",
    ),
    bad(
        "no image left to train on",
        dataset(kind="cifar10", validation=50_000),
        "datasets.own.validation: leaves 0 of 50,000 rows to train on, expected at least 2",
    ),
    bad(
        "a malformed checksum",
        dataset(kind="cifar10", download={"md5": "abc"}),
        "datasets.own.download.md5: got 'abc', expected: MD5 sum of the archive, 32 hexadecimal digits; an archive "
        "with another one is refused.",
    ),
    bad(
        "a model with training and weights",
        {"models": {"mlp": {"weights": {"file": "w.pt"}}}},
        "models.mlp.training: stands beside weights, expected either training or weights",
    ),
    bad(
        "a reference beside exact gradients",
        experiment(reference="forward-h0.1"),
        f"{FIRST}.reference: all models or their twins have an exact gradient that others are compared with; leave it "
        "out",
    ),
    bad(
        "a model without a gradient and without a reference",
        {**model(function="a:b"), **experiment(models=["own"], reference="exact")},
        f"{FIRST}.reference: own has no exact gradient, so name the source that others are compared with: one of "
        "forward-h0.1; or a model with an exact gradient at models.own.twin",
    ),
    bad(
        "a model without weights",
        model(architecture="mlp"),
        "models.own.training: is missing, expected either training or weights",
    ),
    bad(
        "a file of weights without a name",
        model(architecture="mlp", weights={"file": ""}),
        "models.own.weights.file: is empty, expected a path",
    ),
    bad(
        "cached arrays without their method",
        cached(pattern="{step}.npz"),
        "cached_arrays.own.pattern: got '{step}.npz', expected {method} once",
    ),
    bad(
        "cached arrays beside an unknown model",
        cached(compare_with={"dataset": "digits", "model": "cnm"}),
        f"cached_arrays.own.compare_with.model: got 'cnm', expected one of {MODELS}",
    ),
    bad(
        "four faults at once",
        {"seed": -1, "device": "gpu", "models": {"cnn": {"training": {"epochs": 0}}}, "colour": "red"},
        f"colour: unknown key, expected one of {TOP}",
        "device: got 'gpu', expected one of auto, cpu, cuda",
        "models.cnn.training.epochs: got 0, expected at least 1",
        "seed: got -1, expected at least 0",
    ),
]
