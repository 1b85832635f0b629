"""What Snakemake plans: job counts of the default study; its linter finds nothing."""

import pytest

pytestmark = pytest.mark.workflow

DATA = {"prepare_data": 3}
TRAINED = {**DATA, "train_model": 4, "make_model_onnx": 2, "make_model_skops": 1}
MODELS = {**TRAINED, "tabulate_models": 1}
ATTRIBUTIONS = {**TRAINED, "choose_step": 4, "attribute": 65, "differentiate": 34, "derive": 62}
EVALUATED = {**ATTRIBUTIONS, "evaluate": 23}
TABLES = {"summarise": 1, "compare_sources": 1, "tabulate_ranges": 1, "recommend_steps": 1}
COMPARISONS = {"plot_boxplots": 23, "plot_truth": 13, "plot_variants": 6, "plot_anatomy": 7}
PICTURED = {"plot_maps": 4, "plot_features": 3}
COMPARED = {**EVALUATED, **COMPARISONS, **PICTURED, "evaluate_completeness": 5, "plot_completeness": 7, "plot_twins": 1}
DRAWN = {**COMPARED, "plot_learning_curves": 4}
PAGES = {"tell_story": 1, "build_explorer": 1, "show_tables": 1, "describe_run": 1}
EVERYTHING = {**DRAWN, **TABLES, **MODELS, **PAGES}


def test_lint_finds_nothing(empty):
    outcome = empty.run("--lint")
    assert outcome.code == 0, outcome.text
    assert "Congratulations" in outcome.text


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        (None, {**EVERYTHING, "all": 1}),
        ("data", DATA),
        ("models", MODELS),
        ("attributions", ATTRIBUTIONS),
        ("metrics", {**EVALUATED, **TABLES}),
        ("comparison_figures", COMPARED),
        ("figures", DRAWN),
        ("pages", EVERYTHING),
    ],
)
def test_job_counts_of_the_default_study(empty, target, jobs):
    own = {} if target is None else {target: 1}
    assert empty.plan(*own).jobs == jobs | own
    assert not list(empty.directory.glob("[!.]*"))
