"""What a change of the configuration or of the code makes Snakemake do again: what depends on it and nothing else."""

import os
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from counts import TINY_JOBS, tiny_jobs
from running import TINY

pytestmark = pytest.mark.workflow

RUN = ("describe_run",)
TOLD = ("tell_story", *RUN)
TABLES_TOLD = ("show_tables", *TOLD)
PAGES = ("build_explorer", *TABLES_TOLD)
SUMMARISE = ("summarise", "compare_sources")
COMPARED = ("plot_boxplots", "plot_truth", "plot_variants", "plot_anatomy", "plot_features")
PICTURES = ("plot_maps", "plot_features")
BOXES = ("plot_boxplots", "plot_truth", "plot_completeness")
FIGURES = (*COMPARED, "plot_completeness", *PICTURES, "plot_learning_curves")
EVALUATE = (*SUMMARISE, *COMPARED, *PAGES, "evaluate", "recommend_steps")
COMPLETENESS = ("evaluate_completeness", "plot_completeness", "tell_story")
EVALUATING = ("differentiate", "attribute")
ATTRIBUTE = (*EVALUATE, *COMPLETENESS, *EVALUATING, "derive", *PICTURES, "tabulate_ranges")
TRAIN = (*ATTRIBUTE, "train_model", "plot_learning_curves", "tabulate_models")
EVERYTHING = (*TRAIN, "prepare_data")
"""Rules whose jobs follow from a change; how many they are is in `counts.py`."""

PACKAGE = "workflow/approxgrad"
SYNTHETIC, DIGITS = "dataset=synthetic_linear, model=mlp", "dataset=digits, model=cnn"
GRADIENTS = [
    f"gradient={name}{precision}" for name in ("exact", "forward-h0.5", "forward-h2") for precision in ("", "-float64")
]
DIFFERENTIATED = [f"{SYNTHETIC}, samples=6, {gradient}" for gradient in GRADIENTS]
SALIENCY = [f"{SYNTHETIC}, method=saliency, {gradient}" for gradient in GRADIENTS]
COMPLETE = [
    f"{model}, method=integrated_gradients, gradient={name}"
    for model in (DIGITS, SYNTHETIC)
    for name in ("exact", "forward-h0.1")
]
PUBLISHED = f"{SYNTHETIC}, method=integrated_gradients_published, gradient=forward-h0.1"
ALL_CELLS = {"differentiate": DIFFERENTIATED, "derive": SALIENCY, "attribute": [*COMPLETE, PUBLISHED]}
OF_DIGITS = COMPLETE[:2]
APPROXIMATED = {rule: [name for name in names if "=exact" not in name] for rule, names in ALL_CELLS.items()}
# The published variant treats an exact source in a way of its own.
EXACT_OR_PUBLISHED = {
    rule: [name for name in names if "=exact" in name or "_published" in name] for rule, names in ALL_CELLS.items()
}
COSTLY = ("prepare_data", "train_model", "differentiate", "derive", "attribute")


def made_anew(planned):
    """Return the costly jobs of a dry run by rule, with the wildcards of each."""
    jobs = {rule: sorted(names for other, names in planned.wildcards if other == rule) for rule in COSTLY}
    return {rule: names for rule, names in jobs.items() if names}


def edit(path):
    """Change a file but not what it does."""
    path.write_text(path.read_text() + "\n# Edited.\n")


def experiments(**changes):
    """The tiny study's experiments, the first of them changed."""
    first, *others = yaml.safe_load(TINY.read_text())["experiments"]
    return {"experiments": [first | changes, *others]}


def test_all_rules_have_jobs_in_the_tiny_study():
    assert tiny_jobs(*EVERYTHING) == TINY_JOBS


def test_a_copied_run_is_up_to_date(tiny_copy):
    assert not tiny_copy.plan().jobs


def test_a_new_step_adds_its_cells_and_what_depends_on_them(tiny_copy):
    overlay = tiny_copy.overlay({"gradients": {"precisions": {"steps": [0.5, 2, 3]}}})
    planned = tiny_copy.plan(overlays=[overlay])
    method = f"{SYNTHETIC}, method=saliency"
    added = [f"gradient=forward-h3{precision}" for precision in ("", "-float64")]
    assert dict(planned.wildcards) == {
        **{("differentiate", f"{SYNTHETIC}, samples=6, {gradient}"): 1 for gradient in added},
        **{("derive", f"{method}, {gradient}"): 1 for gradient in added},
        **{(rule, method): 1 for rule in ("evaluate", "plot_boxplots", "plot_truth")},
        **{(rule, SYNTHETIC): 1 for rule in ("plot_anatomy", "plot_features")},
    }
    once = dict.fromkeys((*SUMMARISE, *PAGES, "recommend_steps", "all"), 1)
    assert planned.jobs == once | Counter(rule for rule, _ in planned.wildcards)


def test_a_method_that_needs_only_the_gradient_evaluates_nothing(tiny_copy):
    methods = ["saliency", "input_x_gradient", "plain"]
    plain = {"methods": {"plain": {"attribution": "gradient"}}}
    overlay = tiny_copy.overlay(plain | experiments(methods=methods))
    planned = tiny_copy.plan("attributions", overlays=[overlay])
    assert planned.jobs == {"derive": 12, "attributions": 1}
    assert {names.split(", ")[2] for _, names in planned.wildcards} == {"method=input_x_gradient", "method=plain"}
    gradients = {path: path.stat().st_mtime_ns for path in tiny_copy.directory.glob("results/gradients/**/*.parquet")}
    outcome = tiny_copy.run("attributions", overlays=[overlay])
    assert outcome.code == 0, outcome.text
    assert len(gradients) == 6
    assert {path: path.stat().st_mtime_ns for path in gradients} == gradients
    maps = pd.read_parquet(tiny_copy.directory / "results/attributions", filters=[("method", "in", methods)])
    assert len(maps) == 3 * 6 * 6
    for _, own in maps.groupby(["gradient", "sample"], observed=True):
        rows = own.set_index("method")
        # Arithmetic is in the precision of the source.
        dtype = rows.loc["plain", "dtype"]
        gradient, inputs = (rows.loc["plain", column].astype(dtype) for column in ("attribution", "input"))
        np.testing.assert_array_equal(rows.loc["saliency", "attribution"], np.abs(gradient))
        np.testing.assert_array_equal(rows.loc["input_x_gradient", "attribution"], inputs * gradient)


def test_forced_evaluation_repeats_nothing_before_it(tiny_copy):
    assert tiny_copy.plan("--forcerun", "evaluate").jobs == tiny_jobs(*EVALUATE)


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        (f"{PACKAGE}/figures/boxplots.py", ("plot_boxplots", *RUN)),
        (f"{PACKAGE}/figures/boxes.py", (*BOXES, "build_explorer", *TOLD)),
        (f"{PACKAGE}/evaluation/completeness.py", (*COMPLETENESS, *RUN)),
        (f"{PACKAGE}/figures/anatomy.py", ("plot_anatomy", *TOLD)),
        (f"{PACKAGE}/evaluation/convergence.py", ("plot_anatomy", "recommend_steps", *TABLES_TOLD)),
        (f"{PACKAGE}/figures/maps.py", ("plot_maps", *TOLD)),
        (f"{PACKAGE}/figures/triples.py", (*PICTURES, "build_explorer", *TOLD)),
        ("workflow/scripts/plot.py", (*FIGURES, *TOLD)),
        (f"{PACKAGE}/report/story.py", TOLD),
        (f"{PACKAGE}/report/explorer.py", ("build_explorer", *RUN)),
        (f"{PACKAGE}/report/templates/page.css", PAGES),
        # The maps quote two of the measures.
        (f"{PACKAGE}/evaluation/metrics.py", (*EVALUATE, "plot_maps")),
        (f"{PACKAGE}/evaluation/paired.py", ("compare_sources", *TABLES_TOLD)),
        (f"{PACKAGE}/gradients/evaluating/evaluated.py", ATTRIBUTE),
        (f"{PACKAGE}/models/training.py", TRAIN),
        (f"{PACKAGE}/storage/tables.py", EVERYTHING),
        (f"{PACKAGE}/running/job.py", ()),
        (f"{PACKAGE}/progress.py", ()),
        (f"{PACKAGE}/methods/original.py", ()),
    ],
)
def test_an_edited_file_reruns_what_depends_on_it(tiny_copy, file, jobs):
    edit(tiny_copy.repository / file)
    assert tiny_copy.plan().jobs == (tiny_jobs(*jobs) if jobs else {})


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("gradients/exact.py", EXACT_OR_PUBLISHED),
        ("gradients/finite_differences.py", APPROXIMATED),
        ("methods/gradient_methods.py", {"derive": SALIENCY}),
        ("methods/integrated_gradients.py", {"attribute": COMPLETE}),
        ("methods/integrated_gradients_published.py", {"attribute": [PUBLISHED]}),
    ],
)
def test_the_module_of_a_method_or_source_reruns_only_its_cells(tiny_copy, file, jobs):
    edit(tiny_copy.repository / PACKAGE / file)
    assert made_anew(tiny_copy.plan("attributions")) == jobs


def test_the_module_of_a_kind_of_data_reruns_nothing_of_other_data(tiny_copy):
    edit(tiny_copy.repository / PACKAGE / "datasets" / "synthetic.py")
    planned = tiny_copy.plan()
    assert planned.wildcards[("prepare_data", "dataset=synthetic_linear")] == 1
    assert not [names for _, names in planned.wildcards if "dataset=digits" in names]


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"seed": 1}, EVERYTHING),
        ({"map_setting": 0.2}, ("plot_features", *RUN)),
        ({"figures": {"titles": False}}, (*FIGURES, *TOLD)),
        ({"uncertainty": {"level": 0.9}}, (*SUMMARISE, *TABLES_TOLD)),
        ({"uncertainty": {"resamples": 500}}, (*SUMMARISE, *TABLES_TOLD)),
        ({"uncertainty": {"smallest_difference": 0.1}}, ("compare_sources", *TABLES_TOLD)),
    ],
    ids=["seed", "map setting", "titles", "level", "resamples", "smallest difference"],
)
def test_a_changed_option_reruns_what_depends_on_it(tiny_copy, change, jobs):
    assert tiny_copy.plan(overlays=[tiny_copy.overlay(change)]).jobs == tiny_jobs(*jobs)


def test_an_option_of_a_model_reruns_nothing_of_another_model(tiny_copy):
    planned = tiny_copy.plan(overlays=[tiny_copy.overlay({"models": {"mlp": {"dropout": 0.1}}})])
    assert planned.wildcards[("train_model", SYNTHETIC)] == 1
    assert not [names for _, names in planned.wildcards if "model=cnn" in names]


def test_more_trainings_of_a_model_make_nothing_again(tiny_copy):
    planned = tiny_copy.plan(overlays=[tiny_copy.overlay({"models": {"mlp": {"repeats": 3}}})])
    of_models = [names for _, names in planned.wildcards if "model=" in names]
    assert of_models
    assert all("model=mlp-2" in names or "model=mlp-3" in names for names in of_models)
    assert planned.jobs["train_model"] == 2
    assert planned.jobs["compare_trainings"] == 1


def with_version(place, tmp_path, library, number):
    """Plan as if another version of a library were installed."""
    folder = tmp_path / "libraries" / f"{library.replace('-', '_')}-{number}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {number}\n")
    search = os.pathsep.join([str(place.repository / "workflow"), str(folder.parent)])
    outcome = place.run("--dry-run", "--verbose", PYTHONPATH=search)
    assert outcome.code == 0, outcome.text
    return outcome


@pytest.mark.parametrize(
    ("library", "jobs"),
    [
        ("torch", TRAIN),
        ("pyarrow", ()),
        *(
            pytest.param(name, jobs, marks=pytest.mark.soak)
            for name, jobs in {
                "torchvision": TRAIN,
                "numpy": EVERYTHING,
                "scipy": EVALUATE,
                "pandas": (*EVALUATE, *FIGURES, "tabulate_models", "tabulate_ranges"),
                "matplotlib": (*FIGURES, "build_explorer", *TOLD),
                "altair": ("build_explorer", *RUN),
                "safetensors": (),
                "tqdm": (),
            }.items()
        ),
    ],
)
def test_another_version_of_a_library_reruns_what_it_can_change(tiny_copy, tmp_path, library, jobs):
    planned = with_version(tiny_copy, tmp_path, library, "99.1")
    assert planned.jobs == (tiny_jobs(*jobs) if jobs else {})
    assert ("Params have changed since last execution" in planned.text) == bool(jobs)


def test_a_library_that_no_source_of_the_study_uses_reruns_nothing(tiny_copy, tmp_path):
    assert made_anew(with_version(tiny_copy, tmp_path, "captum", "99.1")) == {}


@pytest.mark.soak
def test_a_library_reruns_only_the_data_that_it_makes(tiny_copy, tmp_path):
    # The linear data set is drawn by numpy alone.
    planned = with_version(tiny_copy, tmp_path, "scikit-learn", "99.1")
    assert [names for rule, names in planned.wildcards if rule == "prepare_data"] == ["dataset=digits"]


def test_older_code_is_found_although_its_time_is_older_and_touched_code_is_not_other_code(tiny_copy):
    for path in (tiny_copy.repository / "workflow").rglob("*.py"):
        path.touch()
    assert not tiny_copy.plan().jobs
    for file, rule in (
        (f"{PACKAGE}/gradients/stencils.py", "attribute"),
        ("workflow/scripts/plot.py", "plot_truth"),
    ):
        edit(tiny_copy.repository / file)
        os.utime(tiny_copy.repository / file, (0, 0))
        assert rule in tiny_copy.plan().jobs


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_keys_makes_nothing_again(tiny_copy):
    names = [tiny_copy.repository / "config" / "config.yaml", *tiny_copy.overlays]
    mixed = [reversed_keys(yaml.safe_load(path.read_text())) for path in names]
    overlays = [
        tiny_copy.overlay(yaml.safe_dump(config, sort_keys=False), f"{number}.yaml")
        for number, config in enumerate(mixed)
    ]
    assert not tiny_copy.plan(overlays=overlays).jobs


def test_the_place_of_the_checkout_makes_nothing_again(tiny_copy, tmp_path):
    # A copy has new times.
    moved = tmp_path / "elsewhere" / "clone"
    shutil.copytree(tiny_copy.repository, moved, copy_function=shutil.copyfile)
    overlays = tuple(moved / path.relative_to(tiny_copy.repository) for path in tiny_copy.overlays)
    assert not replace(tiny_copy, repository=moved, overlays=overlays).plan().jobs
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert not replace(tiny_copy, repository=link).plan().jobs
    # Other code at another place is other code.
    edit(moved / PACKAGE / "figures" / "anatomy.py")
    assert replace(tiny_copy, repository=moved).plan().jobs == tiny_jobs("plot_anatomy", *TOLD)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"methods": {"integrated_gradients": {"n_steps": 5}}}, {"attribute": COMPLETE}),
        ({"methods": {"integrated_gradients": {"baseline": "mean"}}}, {"attribute": COMPLETE}),
        ({"methods": {"integrated_gradients_published": {"n_steps": 5}}}, {"attribute": [PUBLISHED]}),
        (
            experiments(samples=7),
            {"differentiate": [name.replace("samples=6", "samples=7") for name in DIFFERENTIATED], "derive": SALIENCY},
        ),
        (
            {"datasets": {"digits": {"normalisation": {"mean": [0.3]}}}},
            {"prepare_data": ["dataset=digits"], "train_model": [DIGITS], "attribute": OF_DIGITS},
        ),
        ({"models": {"cnn": {"training": {"epochs": 2}}}}, {"train_model": [DIGITS], "attribute": OF_DIGITS}),
        ({"memory_mib": 64}, ALL_CELLS),
        ({"threads": 2}, {"train_model": [DIGITS, SYNTHETIC], **ALL_CELLS}),
        ({"device": "cpu"}, {"train_model": [DIGITS, SYNTHETIC], **ALL_CELLS}),
        ({"map_setting": 0.5}, {}),
        ({"verify": {"cells": 2}}, {}),
    ],
    ids=str,
)
def test_a_changed_option_repeats_the_costly_jobs_that_depend_on_it(tiny_copy, change, jobs):
    assert made_anew(tiny_copy.plan(overlays=[tiny_copy.overlay(change)])) == jobs
