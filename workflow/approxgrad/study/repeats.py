"""Models that are trained several times: each training is a model of the study, beside which nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from approxgrad.models.trainings import training_name
from approxgrad.study.names import check_name
from approxgrad.study.sections import Config


def repeated(config: Config) -> tuple[Config, dict[str, str]]:
    """Return a configuration that has every training as a model, and the model of each training after the first.

    They stand beside the model in every experiment that names it.
    """
    models: dict[str, Any] = {}
    first: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for model, kind in config.models.items():
        names[model] = [training_name(model, number + 1) for number in range(kind.repeats)]
        models |= dict.fromkeys(names[model], replace(kind, repeats=1) if kind.repeats > 1 else kind)
        first |= dict.fromkeys(names[model][1:], model)
    experiments = tuple(
        replace(own, models=tuple(name for model in own.models for name in names[model])) for own in config.experiments
    )
    return replace(config, models=models, experiments=experiments), first


def repeat_faults(config: Config) -> list[str]:
    """Return the models whose trainings have names that others have, or that readers do not take for text."""
    faults = []
    for model, kind in config.models.items():
        for name in (training_name(model, number) for number in range(2, kind.repeats + 1)):
            fault = f"is called {name}, as another model is; rename one" if name in config.models else ""
            try:
                check_name(name)
            except ValueError as error:
                fault = f"is called {name}, {error}"
            if fault:
                faults.append(f"models.{model}.repeats: a training {fault}")
                break
    return faults
