"""What a change of the configuration or of the code makes Snakemake do again: what depends on it and nothing else."""

import os
import shutil
from dataclasses import replace

import pytest
import yaml

from running import REPOSITORY

pytestmark = pytest.mark.workflow

RUN = {"describe_run": 1}
PAGES = {"tell_story": 1, "build_explorer": 1, **RUN}
SUMMARISE = {"summarise": 1, "compare_sources": 1}
COMPARED = {"plot_boxplots": 4, "plot_truth": 3, "plot_variants": 1, "plot_anatomy": 2}
EVALUATE = {**SUMMARISE, **COMPARED, **PAGES, "evaluate": 4, "recommend_steps": 1}
BOXES = {"plot_boxplots": 4, "plot_completeness": 2}
COMPLETENESS = {"evaluate_completeness": 2, "plot_completeness": 2}
ATTRIBUTE = {**EVALUATE, **COMPLETENESS, "attribute": 11, "plot_maps": 1, "tabulate_ranges": 1}
TRAIN = {**ATTRIBUTE, "train_model": 2, "plot_learning_curves": 2, "tabulate_models": 1}
ALL = {"all": 1}
PACKAGE = "workflow/approxgrad"


def test_a_copied_run_is_up_to_date(tiny_copy):
    assert not tiny_copy.plan().jobs


def test_a_new_step_adds_its_cells_and_what_depends_on_them(tiny_copy):
    experiments = yaml.safe_load(tiny_copy.overlays[0].read_text())["experiments"]
    experiments[0]["steps"].append(3)
    planned = tiny_copy.plan(overlays=[tiny_copy.overlay({"experiments": experiments})])
    model = "dataset=synthetic_linear, model=mlp"
    methods = [f"{model}, method={name}" for name in ("saliency", "integrated_gradients")]
    published = f"{methods[1]}_published"
    # The colours of all figures of the data set follow its steps.
    assert dict(planned.wildcards) == {
        ("attribute", f"{methods[0]}, gradient=forward-h3"): 1,
        ("attribute", f"{methods[0]}, gradient=forward-h3-float64"): 1,
        ("evaluate", methods[0]): 1,
        **{(rule, method): 1 for rule in ("plot_boxplots", "plot_truth") for method in (*methods, published)},
        ("plot_completeness", methods[1]): 1,
        ("plot_anatomy", model): 1,
    }
    drawn = {"plot_boxplots": 3, "plot_truth": 3, "plot_completeness": 1, "plot_anatomy": 1}
    tables = SUMMARISE | {"recommend_steps": 1}
    assert planned.jobs == {"attribute": 2, "evaluate": 1} | tables | drawn | PAGES | ALL


def test_forced_evaluation_repeats_nothing_before_it(tiny_copy):
    assert tiny_copy.plan("--forcerun", "evaluate").jobs == EVALUATE | ALL


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        (
            f"{PACKAGE}/figures/boxplots.py",
            {"plot_boxplots": 4, "plot_completeness": 2, "build_explorer": 1} | RUN | ALL,
        ),
        (f"{PACKAGE}/evaluation/completeness.py", COMPLETENESS | RUN | ALL),
        (f"{PACKAGE}/figures/anatomy.py", {"plot_anatomy": 2} | RUN | ALL),
        (f"{PACKAGE}/evaluation/convergence.py", {"plot_anatomy": 2, "recommend_steps": 1} | RUN | ALL),
        (f"{PACKAGE}/figures/maps.py", {"plot_maps": 1, "build_explorer": 1} | RUN | ALL),
        ("workflow/scripts/plot_truth.py", {"plot_truth": 3} | RUN | ALL),
        (f"{PACKAGE}/report/story.py", {"tell_story": 1} | RUN | ALL),
        (f"{PACKAGE}/report/templates/explorer.js", {"build_explorer": 1} | RUN | ALL),
        (f"{PACKAGE}/report/templates/page.css", PAGES | ALL),
        # The maps quote two of the measures.
        (f"{PACKAGE}/evaluation/metrics.py", EVALUATE | {"plot_maps": 1} | ALL),
        (f"{PACKAGE}/evaluation/paired.py", {"compare_sources": 1, "tell_story": 1} | RUN | ALL),
        (f"{PACKAGE}/gradients/finite_differences.py", ATTRIBUTE | ALL),
        (f"{PACKAGE}/models/training.py", TRAIN | ALL),
        (f"{PACKAGE}/storage/tables.py", TRAIN | {"prepare_data": 2} | ALL),
        (f"{PACKAGE}/running/job.py", {}),
        (f"{PACKAGE}/progress.py", {}),
        (f"{PACKAGE}/methods/original.py", {}),
        (f"{PACKAGE}/datasets/synthetic.py", None),
    ],
)
def test_an_edited_file_reruns_what_depends_on_it(tiny_copy, file, jobs):
    path = tiny_copy.repository / file
    path.write_text(path.read_text() + "\n# Edited.\n")
    planned = tiny_copy.plan()
    if jobs is None:
        assert planned.wildcards[("prepare_data", "dataset=synthetic_linear")] == 1
        assert not [names for _, names in planned.wildcards if "dataset=digits" in names]
    else:
        assert planned.jobs == jobs


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"seed": 1}, TRAIN | {"prepare_data": 2} | ALL),
        ({"map_step": 0.2}, RUN | ALL),
        ({"uncertainty": {"level": 0.9}}, SUMMARISE | {"tell_story": 1} | RUN | ALL),
        ({"uncertainty": {"resamples": 500}}, SUMMARISE | {"tell_story": 1} | RUN | ALL),
        ({"models": {"mlp": {"dropout": 0.1}}}, None),
    ],
    ids=["seed", "map step", "level", "resamples", "dropout"],
)
def test_a_changed_option_reruns_what_depends_on_it(tiny_copy, change, jobs):
    planned = tiny_copy.plan(overlays=[tiny_copy.overlay(change)])
    if jobs is None:
        assert planned.wildcards[("train_model", "dataset=synthetic_linear, model=mlp")] == 1
        assert not [names for _, names in planned.wildcards if "model=cnn" in names]
    else:
        assert planned.jobs == jobs


def with_version(place, tmp_path, library, number):
    """Plan as if another version of a library were installed."""
    folder = tmp_path / "libraries" / f"{library.replace('-', '_')}-{number}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {number}\n")
    search = os.pathsep.join([str(place.repository / "workflow"), str(folder.parent)])
    outcome = place.run("--dry-run", PYTHONPATH=search)
    assert outcome.code == 0, outcome.text
    return outcome


FIGURES = {**COMPARED, "plot_completeness": 2, "plot_maps": 1, "plot_learning_curves": 2}
TABLES = {"tabulate_models": 1, "tabulate_ranges": 1}


@pytest.mark.parametrize(
    ("library", "jobs"),
    [
        ("captum", ATTRIBUTE | ALL),
        ("pyarrow", {}),
        *(
            pytest.param(name, jobs, marks=pytest.mark.soak)
            for name, jobs in {
                "torch": TRAIN | ALL,
                "torchvision": TRAIN | ALL,
                "numpy": TRAIN | {"prepare_data": 2} | ALL,
                "scipy": EVALUATE | ALL,
                "pandas": EVALUATE | FIGURES | TABLES | ALL,
                "matplotlib": FIGURES | PAGES | ALL,
                "altair": {"build_explorer": 1} | RUN | ALL,
                "safetensors": {},
                "tqdm": {},
            }.items()
        ),
        # The linear data set is drawn by numpy alone.
        pytest.param("scikit-learn", None, marks=pytest.mark.soak),
    ],
)
def test_another_version_of_a_library_reruns_what_it_can_change(tiny_copy, tmp_path, library, jobs):
    planned = with_version(tiny_copy, tmp_path, library, "99.1")
    if jobs is None:
        assert [names for rule, names in planned.wildcards if rule == "prepare_data"] == ["dataset=digits"]
    else:
        assert planned.jobs == jobs
        assert ("Params have changed since last execution" in planned.text) == bool(jobs)


def test_older_code_is_found_although_its_time_is_older_and_touched_code_is_not_other_code(tiny_copy):
    for path in (tiny_copy.repository / "workflow").rglob("*.py"):
        path.touch()
    assert not tiny_copy.plan().jobs
    for file, rule in (
        (f"{PACKAGE}/gradients/stencils.py", "attribute"),
        ("workflow/scripts/plot_truth.py", "plot_truth"),
    ):
        path = tiny_copy.repository / file
        path.write_text(path.read_text() + "\n# Edited.\n")
        os.utime(path, (0, 0))
        assert rule in tiny_copy.plan().jobs


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_keys_makes_nothing_again(tiny_copy):
    names = [tiny_copy.repository / "config.yaml", *tiny_copy.overlays]
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
    path = moved / PACKAGE / "figures" / "anatomy.py"
    path.write_text(path.read_text() + "\n# Edited.\n")
    assert replace(tiny_copy, repository=moved).plan().jobs == {"plot_anatomy": 2} | RUN | ALL


SYNTHETIC, DIGITS = "dataset=synthetic_linear, model=mlp", "dataset=digits, model=cnn"
SALIENCY = [
    f"{SYNTHETIC}, method=saliency, gradient={name}{precision}"
    for precision in ("", "-float64")
    for name in ("exact", "forward-h0.5", "forward-h2")
]
COMPLETE = [
    f"{model}, method=integrated_gradients, gradient={name}"
    for model in (SYNTHETIC, DIGITS)
    for name in ("exact", "forward-h0.1")
]
PUBLISHED = f"{SYNTHETIC}, method=integrated_gradients_published, gradient=forward-h0.1"


def experiments(**changes):
    """The tiny study's experiments, the first of them changed."""
    first, *others = yaml.safe_load((REPOSITORY / "tests" / "config" / "tiny.yaml").read_text())["experiments"]
    return {"experiments": [first | changes, *others]}


@pytest.mark.soak
@pytest.mark.parametrize(
    ("change", "prepared", "trained", "attributed"),
    [
        ({"methods": {"integrated_gradients": {"n_steps": 5}}}, [], [], COMPLETE),
        ({"methods": {"integrated_gradients": {"baseline": "mean"}}}, [], [], COMPLETE),
        ({"methods": {"integrated_gradients_published": {"n_steps": 5}}}, [], [], [PUBLISHED]),
        (experiments(samples=7), [], [], SALIENCY),
        (experiments(steps=[0.5, 2, 3]), [], [], [name.replace("h2", "h3") for name in SALIENCY if "-h2" in name]),
        (
            {"datasets": {"digits": {"normalisation": {"mean": [0.3]}}}},
            ["dataset=digits"],
            [DIGITS],
            [name for name in COMPLETE if "digits" in name],
        ),
        ({"models": {"cnn": {"training": {"epochs": 2}}}}, [], [DIGITS], [n for n in COMPLETE if "digits" in n]),
        ({"memory_mib": 64}, [], [], [*SALIENCY, *COMPLETE, PUBLISHED]),
        ({"threads": 2}, [], [SYNTHETIC, DIGITS], [*SALIENCY, *COMPLETE, PUBLISHED]),
        ({"device": "cpu"}, [], [SYNTHETIC, DIGITS], [*SALIENCY, *COMPLETE, PUBLISHED]),
        ({"map_step": 0.5}, [], [], []),
        ({"verify": {"cells": 2}}, [], [], []),
    ],
    ids=str,
)
def test_a_changed_option_repeats_the_costly_jobs_that_depend_on_it(tiny_copy, change, prepared, trained, attributed):
    planned = tiny_copy.plan(overlays=[tiny_copy.overlay(change)]).wildcards
    found = {
        rule: sorted(names for other, names in planned if other == rule)
        for rule in ("prepare_data", "train_model", "attribute")
    }
    assert found == {"prepare_data": sorted(prepared), "train_model": sorted(trained), "attribute": sorted(attributed)}
