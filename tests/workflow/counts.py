"""The jobs of a study, derived from its cells and descriptions: one table for every test that expects jobs."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from approxgrad.study.study import Study
from running import REPOSITORY, TINY

ONCE = ("summarise", "compare_sources", "tabulate_models", "tabulate_ranges", "recommend_steps")
PAGES = ("tell_story", "build_explorer", "show_tables", "describe_run")
"""Rules with a single job: tables and pages of the whole study."""


def study_of(*overlays: Path | Mapping[str, Any]) -> Study:
    """Return the default study with some configurations, or files of them, merged over it."""
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    for overlay in overlays:
        changes = yaml.safe_load(overlay.read_text()) if isinstance(overlay, Path) else copy.deepcopy(overlay)
        update_config(config, changes)
    return Study(config)


def work(study: Study) -> dict[str, list[tuple[str, ...]]]:
    """Return the values of the wildcards of every job in a run of the whole study, by rule."""
    trained = [names for names in study.models if study.model(names[1]).trained]
    fitted = [names for names in study.models if study.model(names[1]).fitted]
    made = {names: study.model(names[1]).makes for names in study.models if study.model(names[1]).makes}
    images = [names for names in study.models if study.dataset(names[0]).is_image]
    compared = study.comparisons
    paths = [cell for cell in study.cells if study.method(cell.method).path]
    complete = [cell for cell in study.cells if study.method(cell.method).complete]
    derived = [cell for cell in study.cells if study.method(cell.method).derived]
    alone = [cell for cell in study.cells if cell not in derived]
    found = {
        "download": [(name,) for name in study.datasets if study.dataset(name).downloads],
        "prepare_data": [(name,) for name in study.datasets],
        "train_model": trained,
        "download_weights": sorted({(model,) for _, model in fitted if not study.model(model).own_files}),
        "load_model": fitted,
        "measure_model": [names for names in study.models if names not in (*trained, *fitted, *made)],
        **{f"make_{file.replace('.', '_')}": [n for n in made if made[n] == file] for file in made.values()},
        "choose_step": [tuple(choice.keys.values()) for choice in study.choices.values()],
        "measure_spectrum": [tuple(pilots.keys.values()) for pilots in study.spectra.values()],
        **_evaluating("differentiate", "gather_gradients", study.gradients.values()),
        "derive": [tuple(cell.keys.values()) for cell in derived],
        **_evaluating("attribute", "gather_shards", alone),
        "evaluate": compared,
        "evaluate_completeness": _models(paths),
        "plot_boxplots": compared,
        "plot_truth": [names for names in compared if study.dataset(names[0]).has_truth],
        "plot_variants": [
            (dataset, model, method)
            for dataset, model, method in compared
            if (dataset, model, study.reference(method)) in set(compared) - {(dataset, model, method)}
        ],
        "plot_completeness": sorted({(cell.dataset, cell.model, cell.method) for cell in complete}),
        "plot_maps": [names for names in images if study.compared_methods(*names)],
        "plot_features": sorted({(dataset, model) for dataset, model, _ in compared} - set(images)),
        "plot_anatomy": sorted({(dataset, model) for dataset, model, _ in compared}),
        "plot_twins": _twins(study),
        "plot_budget": study.budgeted,
        "choose_sources": [()] if study.budgeted else [],
        **_faithful(study),
        "plot_learning_curves": trained,
        **{rule: [()] for rule in (*ONCE, *PAGES)},
    }
    return {rule: jobs for rule, jobs in found.items() if jobs}


def _faithful(study: Study) -> dict[str, list[tuple[str, ...]]]:
    """Return the jobs that ask a model about maps, where the configuration has them asked."""
    asked = study.config.faithfulness
    if asked is None:
        return {}
    moved = study.cells if asked.sensitivity else []
    return {
        "evaluate_faithfulness": study.comparisons,
        "evaluate_sensitivity": [tuple(cell.keys.values()) for cell in moved],
        "compare_faithfulness": [()],
        "plot_faithfulness": study.comparisons,
    }


def counts(study: Study) -> dict[str, int]:
    """Return the number of jobs of every rule, and of the target, in a run of the whole study."""
    return {rule: len(jobs) for rule, jobs in work(study).items()} | {"all": 1}


def _evaluating(rule: str, gather: str, cells: Iterable[Any]) -> dict[str, list[tuple[str, ...]]]:
    """Return the jobs that evaluate a model for some cells, whole or in shards, and those that put shards together."""
    whole, cut = ([cell for cell in cells if (cell.shards > 1) == is_cut] for is_cut in (False, True))
    return {
        rule: [tuple(cell.keys.values()) for cell in whole],
        f"{rule}_shard": [(*cell.keys.values(), name) for cell in cut for name in cell.shard_names],
        gather: [tuple(cell.keys.values()) for cell in cut],
    }


def _models(cells: Iterable[Any]) -> list[tuple[str, str]]:
    return sorted({(cell.dataset, cell.model) for cell in cells})


def _twins(study: Study) -> list[tuple[str, str, str]]:
    """Return data set, twin and method wherever several models have the twin."""
    found = Counter((dataset, study.twin(model), method) for dataset, model, method in study.comparisons)
    return [keys for keys, models in found.items() if keys[1] is not None and models > 1]


TINY_JOBS = counts(study_of(TINY))
"""Jobs of a run of the tiny study."""


def tiny_jobs(*rules: str) -> dict[str, int]:
    """Return how many jobs some rules have in a run of the tiny study, with the target itself."""
    return {rule: TINY_JOBS[rule] for rule in (*rules, "all")}
