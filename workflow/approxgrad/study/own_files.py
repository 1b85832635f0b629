"""A user's own files that a study needs: which they are, and whether they can be read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from approxgrad.provenance.dependencies import user_files
from approxgrad.study.configuration import refuse
from approxgrad.study.named_files import dataset_faults, factory_faults, weight_faults
from approxgrad.study.study import Study, model_weights


def extension_files(study: Study, modules: Iterable[str]) -> list[str]:
    """Return the files of extensions, and of modules that they import, that describe something in use."""
    wanted = set(modules)
    found: list[str] = []
    for name in study.config.extensions:
        path = Path(name)
        if path.stem in wanted:
            found += [str(path.parent / own) for own in user_files(path.stem, path.parent)]
    return list(dict.fromkeys(found))


def readable_sources(study: Study, dataset: str) -> list[Any]:
    """Return what a data set is prepared from; raises a ConfigError if the user's own among it cannot be read."""
    refuse(dataset_faults(dataset, study.dataset(dataset)))
    return study.dataset(dataset).sources(dataset)


def readable_factory(study: Study, model: str) -> list[str]:
    """Return the files of a user's own code for a model; raises a ConfigError if the module cannot be read."""
    names = (model, study.model(model).source_model)
    refuse([fault for name in names if name is not None for fault in factory_faults(name, study.model(name))])
    return study.opened_files(model)


def readable_weights(study: Study, model: str) -> str:
    """Return a model's weight file; raises a ConfigError if it is the user's own and cannot be read."""
    path = str(study.model(model).weight_file(model))
    # A model that this study trains may be loaded for other data.
    if path not in [model_weights(dataset, name) for dataset, name in study.models]:
        refuse(weight_faults(model, study.model(model)))
    return path


def check_files(study: Study) -> None:
    """Raise a ConfigError if a user's own file, of data and models in use, cannot be read."""
    for dataset in study.datasets:
        readable_sources(study, dataset)
    for model in dict.fromkeys(model for _, model in study.models):
        readable_factory(study, model)
        if study.model(model).fitted:
            readable_weights(study, model)
