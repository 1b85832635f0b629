"""A study: the product of data sets, models, methods and gradient sources that a configuration asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from approxgrad.datasets.kinds import kind
from approxgrad.provenance.dependencies import user_files
from approxgrad.storage.cached_arrays import ArrayFile, find_arrays
from approxgrad.study.choices import STEPS, Choice, cell_choice, step_choices
from approxgrad.study.configuration import ConfigError, in_order, validated
from approxgrad.study.faults import file_faults, name_faults, sample_faults, shape_faults, step_faults
from approxgrad.study.grid import Cell
from approxgrad.study.named_files import array_faults, dataset_faults, factory_faults, weight_faults
from approxgrad.study.shards import sample_evaluations, shard_count
from approxgrad.study.sources import AUTO, GradientSource, exact_source, experiment_sources

MODEL_WEIGHTS = "results/models/dataset={dataset}/model={model}/weights.safetensors"

NO_ARCHITECTURE = ("training", "weights", "batch_size", "check_rows")
"""Options of a model besides those of its network."""

NO_CHOICE = "none, because the study chooses no step"


class Study:
    """What a configuration asks for, checked beyond what a schema can say.

    Parameters
    ----------
    config : dict
        The configuration as Snakemake merged it.

    Raises
    ------
    ConfigError
        If the configuration is not valid; the message has one line for each fault.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = validated(config)
        _raise(name_faults(self.config) + file_faults(self.config) + step_faults(self.config))
        _raise(sample_faults(self.config) + shape_faults(self.config))
        self.config = in_order(self.config)
        self.cells = self._cells()
        self._by_key = {(cell.dataset, cell.model, cell.method, cell.gradient.name): cell for cell in self.cells}

    def cell(self, wildcards: Any) -> Cell:
        """Return the cell that a rule's wildcards name."""
        return self._by_key[(wildcards.dataset, wildcards.model, wildcards.method, wildcards.gradient)]

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """The steps that are chosen at run time, each once, by the path of its table."""
        return step_choices(self.cells, self.config["methods"])

    def choice(self, wildcards: Any) -> Choice:
        """Return the choice of a step that a rule's wildcards name."""
        return self.choices[STEPS.format(**dict(wildcards.items()))]

    def choice_path(self, cell: Cell) -> str:
        """Return the path of the choice that a cell takes its step from; empty if its step is not chosen."""
        choice = cell_choice(cell, self.config["methods"][cell.method])
        return "" if choice is None else choice.path

    @cached_property
    def datasets(self) -> list[str]:
        """Names of the data sets in use, in the order of the configuration."""
        return _unique(cell.dataset for cell in self.cells)

    @cached_property
    def models(self) -> list[tuple[str, str]]:
        """Pairs of data set and model in use."""
        return _unique((cell.dataset, cell.model) for cell in self.cells)

    @cached_property
    def comparisons(self) -> list[tuple[str, str, str]]:
        """Triples of data set, model and method for which there is an approximated attribution."""
        return _unique((cell.dataset, cell.model, cell.method) for cell in self.cells if not cell.gradient.is_exact)

    @cached_property
    def _compared_cells(self) -> list[Cell]:
        return [cell for cell in self.cells if not cell.gradient.is_exact]

    @cached_property
    def _shard_paths(self) -> set[str]:
        return {path for cell in self.cells for path in cell.shard_paths}

    @cached_property
    def exact_cells(self) -> list[Cell]:
        """One cell with exact gradients for each data set, model and method, in the lowest precision that it has."""
        exact = sorted((cell for cell in self.cells if cell.gradient.is_exact), key=lambda cell: cell.gradient.dtype)
        lowest = {(cell.dataset, cell.model, cell.method): cell for cell in reversed(exact)}
        return [cell for cell in self.cells if cell in lowest.values()]

    @cached_property
    def trained_models(self) -> list[str]:
        """Names of the models that are trained here."""
        return [name for name, options in self.config["models"].items() if "training" in options]

    @cached_property
    def loaded_models(self) -> list[str]:
        """Names of the models whose weights were trained elsewhere."""
        return [name for name, options in self.config["models"].items() if "weights" in options]

    def architecture(self, model: str) -> dict[str, Any]:
        """Return what :func:`approxgrad.models.architectures.build_model` needs besides the shape of the data."""
        options = self.config["models"][model]
        return {key: value for key, value in options.items() if key not in NO_ARCHITECTURE}

    def evaluation(self, model: str) -> dict[str, Any]:
        """Return how jobs that attribute or choose a step evaluate a model."""
        options = self.config["models"][model]
        return {
            "batch_size": options.get("batch_size"),
            "check_rows": options["check_rows"],
            "memory_mib": self.config.get("memory_mib"),
            "threads": self.config["threads"],
        }

    def weight_file(self, model: str) -> str:
        """Return the weight file of a loaded model: the user's own, or one that a rule downloads."""
        source = self.config["models"][model]["weights"]
        return f"data/weights/{model}.weights" if "repository" in source else str(source["file"])

    def factory_files(self, model: str) -> list[str]:
        """Return the files of a user's own architecture that lie in the working directory, so that they are tracked."""
        return [str(path) for path in user_files(self.factory_module(model), Path())]

    def readable_weights(self, model: str) -> str:
        """Return :meth:`weight_file`; raises a ConfigError if it is the user's own and cannot be read."""
        path = self.weight_file(model)
        # A model that this study trains may be loaded for other data.
        if path not in [MODEL_WEIGHTS.format(dataset=dataset, model=name) for dataset, name in self.models]:
            _raise(weight_faults(model, self.config["models"][model]))
        return path

    def readable_factory(self, model: str) -> list[str]:
        """Return :meth:`factory_files`; raises a ConfigError if the module of the factory cannot be read."""
        _raise(factory_faults(model, self.config["models"][model]))
        return self.factory_files(model)

    def own_files(self, model: str) -> list[str]:
        """Return the files of a user that a model is made from: those of its architecture, and its weights."""
        source = self.config["models"][model].get("weights", {"repository": ""})
        return self.factory_files(model) + ([] if "repository" in source else [str(source["file"])])

    def factory_module(self, model: str) -> str:
        """Return the module of a user's own architecture; empty for one of this package."""
        return str(self.config["models"][model].get("factory", "")).partition(":")[0]

    @cached_property
    def variants(self) -> list[tuple[str, str, str]]:
        """Triples of data set, model and published variant of Integrated Gradients whose correct one is there too."""
        return [
            (dataset, model, method)
            for dataset, model, method in self.comparisons
            if self.config["methods"][method]["attribution"] == "integrated_gradients_published"
            and (dataset, model, self.reference(method)) in self.comparisons
        ]

    def steps(self, dataset: str) -> list[float]:
        """Return all steps of a data set in numeric order; its figures derive their colours from them."""
        own = {cell.gradient.step for cell in self.cells if cell.dataset == dataset}
        return sorted(step for step in own if isinstance(step, float))

    def cached_arrays(self, source: str) -> list[ArrayFile]:
        """Return the files of one source of cached arrays."""
        options = self.config["cached_arrays"][source]
        return find_arrays(options["folder"], options["pattern"], options["methods"], options["steps"])

    @cached_property
    def cached_methods(self) -> list[tuple[str, str]]:
        """Pairs of source and method for which there are cached arrays."""
        return _unique(
            (source, file.method) for source in self.config["cached_arrays"] for file in self.cached_arrays(source)
        )

    def reproduced(self, source: str, method: str) -> bool:
        """Whether this study computes what cached arrays hold, so that the two can be compared."""
        own = self.config["cached_arrays"][source].get("compare_with")
        return own is not None and (own["dataset"], own["model"], method) in self.comparisons

    def is_image(self, dataset: str) -> bool:
        """Whether the inputs of a data set can be shown as pictures."""
        options = self.config["datasets"][dataset]
        return bool(kind(options).is_image(options))

    def has_truth(self, dataset: str) -> bool:
        """Whether the true effects of a data set's features are known."""
        options = self.config["datasets"][dataset]
        return bool(kind(options).has_truth(options))

    def sources(self, dataset: str) -> list[str]:
        """Return the paths that a data set is prepared from."""
        options = self.config["datasets"][dataset]
        return list(kind(options).sources(dataset, options))

    def readable_sources(self, dataset: str) -> list[str]:
        """Return :meth:`sources`; raises a ConfigError if the user's own among them are not there or cannot be read."""
        _raise(dataset_faults(dataset, self.config["datasets"][dataset]))
        return self.sources(dataset)

    def check_files(self) -> None:
        """Raise a ConfigError if a user's own file, of data and models in use, cannot be read."""
        for dataset in self.datasets:
            self.readable_sources(dataset)
        for model in _unique(model for _, model in self.models):
            self.readable_factory(model)
            if model in self.loaded_models:
                self.readable_weights(model)

    @cached_property
    def downloads(self) -> list[str]:
        """Names of the data sets whose archive is downloaded."""
        return [name for name, options in self.config["datasets"].items() if "download" in options]

    def approximated(self, dataset: str, model: str, method: str) -> list[Cell]:
        """Return the cells of a comparison, ordered by precision, scheme and step."""
        key = (dataset, model, method)
        cells = [cell for cell in self._compared_cells if (cell.dataset, cell.model, cell.method) == key]
        return sorted(cells, key=lambda cell: cell.gradient.rank)

    def compared_methods(self, dataset: str, model: str) -> list[str]:
        """Return the methods of a data set and model for which there is an approximated attribution."""
        return [method for *names, method in self.comparisons if names == [dataset, model]]

    def shown(self, dataset: str, model: str, method: str) -> list[Cell]:
        """Return the cells of a comparison whose rows :func:`approxgrad.evaluation.frames.study_steps` keeps."""
        cells = self.approximated(dataset, model, method)
        own = [cell for cell in cells if cell.gradient.dtype == cells[0].gradient.dtype]
        return [cell for cell in own if cell.gradient.step != AUTO] or own

    def exact(self, dataset: str, model: str, method: str, dtype: str | None = None) -> Cell:
        """Return the cell with the exact attribution that a method is compared with, in a precision or the lowest."""
        dtype = dtype or self.approximated(dataset, model, method)[0].gradient.dtype
        return self._by_key[(dataset, model, self.reference(method), exact_source(dtype).name)]

    def references(self, dataset: str, model: str, method: str) -> list[Cell]:
        """Return the exact cells of a comparison: one for each precision of the approximated ones."""
        dtypes = _unique(cell.gradient.dtype for cell in self.approximated(dataset, model, method))
        return [self.exact(dataset, model, method, dtype) for dtype in dtypes]

    def reference(self, method: str) -> str:
        """Return the method whose exact attribution a method is compared with."""
        return str(self.config["methods"][method].get("reference", method))

    def mapped(self, dataset: str, model: str) -> list[tuple[str, Cell, Cell]]:
        """Return method, approximated and exact cell for each column of the picture of attribution maps.

        Of several methods of one kind the first is shown; the published variant is not. Of equally near steps that of
        the lowest precision is shown, and a step that is chosen at run time only where there is no other.
        """
        wanted = self.config["map_step"]
        columns: dict[str, tuple[str, Cell, Cell]] = {}
        for key_dataset, key_model, method in self.comparisons:
            attribution = self.config["methods"][method]["attribution"]
            if (key_dataset, key_model) != (dataset, model) or attribution == "integrated_gradients_published":
                continue
            cells = self.approximated(dataset, model, method)
            nearest = min(cells, key=lambda cell: cell.gradient.distance(wanted))
            exact = self.exact(dataset, model, method, nearest.gradient.dtype)
            columns.setdefault(attribution, (method, nearest, exact))
        order = ("saliency", "input_x_gradient", "integrated_gradients")
        return [columns[name] for name in order if name in columns]

    def check_targets(self, arguments: Sequence[str]) -> None:
        """Refuse a file asked for on the command line whose folders name something that the study lacks.

        Raises
        ------
        ConfigError
            Naming the part of the path and what is allowed there.
        """
        allowed = {
            "dataset": self.datasets,
            "model": _unique(cell.model for cell in self.cells),
            "method": _unique(cell.method for cell in self.cells),
            "points": _unique(choice.points for choice in self.choices.values()),
            "gradient": _unique(cell.gradient.name for cell in self.cells),
        }
        if any(argument == "published" or argument.startswith("results/published/") for argument in arguments):
            self._check_cached_arrays()
        for argument in arguments:
            folder, *names = argument.split("/")
            if folder == "data" and len(names) == 2 and names[0] not in ("weights", *self.datasets):
                raise ConfigError(f"{argument}: data set is {names[0]!r}, expected one of {', '.join(self.datasets)}")
            if folder != "results" or names[:1] == ["published"]:
                continue
            if names[:1] == ["shards"] and argument not in self._shard_paths:
                raise ConfigError(f"{argument}: the study has no such shard; see `shards` in the configuration")
            parts = [part.split("=", 1) for part in argument.split("/") if "=" in part]
            for key, value in parts:
                if key in allowed and value not in allowed[key]:
                    expected = f"one of {', '.join(allowed[key])}" if allowed[key] else NO_CHOICE
                    raise ConfigError(f"{argument}: {key} is {value!r}, expected {expected}")
            named = dict(parts)
            keys = [key for key in allowed if key in named]
            cells: Iterable[Cell | Choice] = self._compared_cells
            if names[:1] in (["attributions"], ["shards"]):
                cells = self.cells
            elif names[:1] == ["steps"]:
                cells = self.choices.values()
            if tuple(named[key] for key in keys) not in {tuple(cell.keys.get(key) for key in keys) for cell in cells}:
                raise ConfigError(f"{argument}: no experiment combines these; see `experiments` in the configuration")

    def _check_cached_arrays(self) -> None:
        if not self.config["cached_arrays"]:
            raise ConfigError("published: the configuration has no `cached_arrays` to draw")
        arrays = self.config["cached_arrays"].items()
        _raise([fault for source, options in arrays for fault in array_faults(source, options)])
        _raise(
            [
                f"cached_arrays.{source}: no file in {options['folder']} fits the pattern {options['pattern']}"
                for source, options in arrays
                if not self.cached_arrays(source)
            ]
        )

    def _cells(self) -> list[Cell]:
        cells: dict[tuple[str, str, str, GradientSource], Cell] = {}
        faults = []
        for number, experiment in enumerate(self.config["experiments"]):
            names = product(experiment["datasets"], experiment["models"], experiment["methods"])
            for dataset, model, method in names:
                samples = experiment["samples_by_method"].get(method, experiment["samples"])
                for source in experiment_sources(experiment):
                    name = self.reference(method) if source.is_exact else method
                    key = (dataset, model, name, source)
                    shards = self._shard_count(dataset, name, source, samples)
                    cell = cells.setdefault(key, Cell(dataset, model, name, source, samples, shards))
                    if cell.samples != samples:
                        faults.append(
                            f"experiments[{number}]: asks for {samples} samples of {dataset}, {model}, {name}, "
                            f"{source.name}, elsewhere it is {cell.samples}; expected one number"
                        )
        _raise(faults)
        return list(cells.values())

    def _shard_count(self, dataset: str, method: str, source: GradientSource, samples: int) -> int:
        """Return the number of shards of a cell; it follows from the configuration alone, so that it never changes."""
        own, options = self.config["methods"][method], self.config["datasets"][dataset]
        shape = (1,) if source.is_exact else kind(options).feature_shape(options)
        per_sample = None if shape is None else sample_evaluations(own, source.scheme, prod(shape))
        return shard_count(self.config["shards"], samples, per_sample)


def any_of(names: Iterable[str]) -> str:
    """Return a regular expression that fits just the given names; without names it fits nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _raise(faults: list[str]) -> None:
    if faults:
        raise ConfigError("\n".join(_unique(faults)))
