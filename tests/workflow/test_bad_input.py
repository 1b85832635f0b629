"""Wrong configurations and targets stop with one line for each fault, before anything is written."""

import math

import pytest

from approxgrad.configuration import load_schema
from running import TINY

pytestmark = pytest.mark.workflow

SCHEMA = load_schema()
TOP = ", ".join(sorted(SCHEMA["properties"]))
TRAINING = ", ".join(sorted(SCHEMA["$defs"]["training"]["properties"]))
METHODS = (
    "saliency, input_x_gradient, integrated_gradients, integrated_gradients_mean, "
    "integrated_gradients_published, integrated_gradients_published_mean"
)
EXACT_METHODS = "saliency, input_x_gradient, integrated_gradients, integrated_gradients_mean"
FOLDERS = "results/attributions/dataset={}/model={}/method={}/gradient={}/part-0.parquet"


def experiment(**changes):
    entry = {"datasets": ["digits"], "models": ["cnn"], "methods": ["saliency"], "steps": [0.1], "samples": 2}
    return {"experiments": [entry | changes]}


def step(value):
    return experiment(steps=[value])


def published(**options):
    return {"methods": {"integrated_gradients_published": options}}


def check_refused(place, outcome, lines):
    assert outcome.code != 0
    said = [line for line in outcome.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert said == ["Configuration error", *lines]
    assert "Traceback" not in outcome.text
    assert not (place.directory / "results").exists()
    assert not (place.directory / "data").exists()


@pytest.mark.parametrize(
    ("overlay", "lines"),
    [
        (
            experiment(models=["cnm"]),
            ["experiments[0].models: got 'cnm', expected one of cnn, resnet18, mlp"],
        ),
        (
            experiment(methods=["saliencey"]),
            [f"experiments[0].methods: got 'saliencey', expected one of {METHODS}"],
        ),
        (
            experiment(datasets=["mnist"]),
            ["experiments[0].datasets: got 'mnist', expected one of digits, synthetic_linear, synthetic_nonlinear"],
        ),
        (
            experiment(schemes=["sideways"]),
            ["experiments[0].schemes[0]: got 'sideways', expected one of forward, backward, central"],
        ),
        ({"expermints": []}, [f"expermints: unknown key, expected one of {TOP} (did you mean experiments?)"]),
        (
            {"models": {"mlp": {"training": {"epoch": 3}}}},
            [f"models.mlp.training.epoch: unknown key, expected one of {TRAINING} (did you mean epochs?)"],
        ),
        (
            {"methods": {"saliency": {"colour": 1}}},
            ["methods.saliency.colour: unknown key, expected one of attribution"],
        ),
        ({"seed": "zero"}, ["seed: got 'zero', expected an integer"]),
        ({"models": {"mlp": ["hidden"]}}, ["models.mlp: got ['hidden'], expected a mapping"]),
        (step(0), ["experiments[0].steps[0]: got 0, expected more than 0"]),
        (step(-0.1), ["experiments[0].steps[0]: got -0.1, expected more than 0"]),
        (step(10**400), ["experiments[0].steps[0]: got 1" + "0" * 56 + "..., expected a finite number"]),
        (experiment(samples=2.0), ["experiments[0].samples: got 2.0, expected an integer"]),
        ({"map_step": math.inf}, ["map_step: got inf, expected a finite number"]),
        (step(math.nan), ["experiments[0].steps[0]: got nan, expected a finite number"]),
        (step(math.inf), ["experiments[0].steps[0]: got inf, expected a finite number"]),
        (step("small"), ["experiments[0].steps[0]: got 'small', expected: a positive number, or auto"]),
        (experiment(samples=451), ["experiments[0].samples: got 451, expected at most 450, the test rows of digits"]),
        (
            published(reference="saliencey"),
            [
                "methods.integrated_gradients_published.reference: got 'saliencey', "
                f"expected a method with an exact counterpart: {EXACT_METHODS}"
            ],
        ),
        (
            {"seed": -1, "device": "gpu", "models": {"cnn": {"training": {"epochs": 0}}}, "colour": "red"},
            [
                f"colour: unknown key, expected one of {TOP}",
                "device: got 'gpu', expected one of auto, cpu, cuda",
                "models.cnn.training.epochs: got 0, expected at least 1",
                "seed: got -1, expected at least 0",
            ],
        ),
        (
            experiment(datasets=["mnist"], models=["cnm"]),
            [
                "experiments[0].datasets: got 'mnist', expected one of digits, synthetic_linear, synthetic_nonlinear",
                "experiments[0].models: got 'cnm', expected one of cnn, resnet18, mlp",
            ],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_configurations_are_refused(empty, tmp_path, overlay, lines):
    path = empty.overlay(overlay)
    check_refused(empty, empty.run(overlays=[TINY, path]), lines)


@pytest.mark.parametrize(
    ("folders", "complaint"),
    [
        (["digits", "cnm", "saliency", "exact"], "model is 'cnm', expected one of mlp, cnn"),
        (
            ["digits", "cnn", "integrated_gradients", "forward-h0.3"],
            "gradient is 'forward-h0.3', expected one of exact, exact-float64, forward-h0.5, forward-h0.5-float64, "
            "forward-h2, forward-h2-float64, forward-h0.1",
        ),
        (
            ["digits", "mlp", "saliency", "exact"],
            "no experiment combines these; see `experiments` in the configuration",
        ),
    ],
)
def test_unknown_targets_are_refused(empty, folders, complaint):
    target = FOLDERS.format(*folders)
    check_refused(empty, empty.run(target, overlays=[TINY]), [f"{target}: {complaint}"])


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("data/mnist/train.parquet", "data set is 'mnist', expected one of synthetic_linear, digits"),
        (
            "results/metrics/dataset=digits/model=mlp/method=saliency/part-0.parquet",
            "no experiment combines these; see `experiments` in the configuration",
        ),
        (
            "results/figures/dataset=digits/model=mlp/learning_curves.svg",
            "no experiment combines these; see `experiments` in the configuration",
        ),
    ],
)
def test_targets_that_no_experiment_has_are_refused(empty, target, complaint):
    check_refused(empty, empty.run(target, overlays=[TINY]), [f"{target}: {complaint}"])


def test_a_figure_that_a_data_set_cannot_have_is_refused(empty):
    target = "results/figures/dataset=digits/model=cnn/method=integrated_gradients/truth_correlation.svg"
    outcome = empty.run(target, overlays=[TINY])
    assert outcome.code != 0
    assert f"No rule to produce {target}" in outcome.stderr


def test_yaml_numbers_without_a_point_are_numbers(empty):
    # YAML 1.1 reads 1e-4 as text.
    entry = "datasets: [digits], models: [cnn], methods: [saliency], steps: [1e-4, 2E-3], samples: 2"
    overlay = empty.overlay(f"experiments: [{{{entry}}}]\nmodels: {{cnn: {{training: {{learning_rate: 1e-3}}}}}}\n")
    planned = empty.plan("attributions", overlays=[overlay]).wildcards
    gradients = {text.rsplit("=")[-1] for rule, text in planned if rule == "attribute"}
    assert gradients == {"exact", "forward-h0.0001", "forward-h0.002"}


def test_a_missing_gpu_is_one_clear_line(empty):
    overlay = empty.overlay({"device": "cuda"})
    outcome = empty.run("models", overlays=[TINY, overlay], cores=1, CUDA_VISIBLE_DEVICES="")
    assert outcome.code != 0
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("approxgrad:")]
    assert line.startswith("approxgrad: train_model dataset=")
    assert "device: cuda was asked for, but torch finds no GPU; use cpu or auto" in line
    assert "Traceback" not in outcome.text
    assert not list(empty.directory.glob("results/**/*.*"))
