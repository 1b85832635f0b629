"""What a change of the configuration or of the code makes Snakemake do again: what depends on it and nothing else."""

import pytest
import yaml

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
        (f"{PACKAGE}/completeness.py", COMPLETENESS | RUN | ALL),
        (f"{PACKAGE}/figures/anatomy.py", {"plot_anatomy": 2} | RUN | ALL),
        (f"{PACKAGE}/convergence.py", {"plot_anatomy": 2, "recommend_steps": 1} | RUN | ALL),
        (f"{PACKAGE}/figures/maps.py", {"plot_maps": 1, "build_explorer": 1} | RUN | ALL),
        ("workflow/scripts/plot_truth.py", {"plot_truth": 3} | RUN | ALL),
        (f"{PACKAGE}/story.py", {"tell_story": 1} | RUN | ALL),
        (f"{PACKAGE}/templates/explorer.js", {"build_explorer": 1} | RUN | ALL),
        (f"{PACKAGE}/templates/page.css", PAGES | ALL),
        # The maps quote two of the measures.
        (f"{PACKAGE}/metrics.py", EVALUATE | {"plot_maps": 1} | ALL),
        (f"{PACKAGE}/paired.py", {"compare_sources": 1, "tell_story": 1} | RUN | ALL),
        (f"{PACKAGE}/finite_differences.py", ATTRIBUTE | ALL),
        (f"{PACKAGE}/training.py", TRAIN | ALL),
        (f"{PACKAGE}/tables.py", TRAIN | {"prepare_data": 2} | ALL),
        (f"{PACKAGE}/runtime.py", {}),
        (f"{PACKAGE}/progress.py", {}),
        (f"{PACKAGE}/original.py", {}),
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
