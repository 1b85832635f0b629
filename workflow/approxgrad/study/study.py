"""A study: the product of data sets, models, methods and gradient sources that a configuration asks for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from approxgrad.datasets.kind import DatasetKind
from approxgrad.extensions import ExtensionError, load_extensions
from approxgrad.gradients.precisions import leading, precedence
from approxgrad.gradients.source import Source, evaluated_source, exact_source
from approxgrad.methods.method import METHODS, Method
from approxgrad.models.kind import ModelKind
from approxgrad.storage.cached_arrays import ArrayFile, find_arrays, matching_arrays
from approxgrad.study.choices import Choice, step_choices
from approxgrad.study.configuration import ConfigError, configured, document, refuse
from approxgrad.study.faults import faults, name_faults
from approxgrad.study.grid import Cell, SharedGradient
from approxgrad.study.looks import families, labels
from approxgrad.study.products import product_cells
from approxgrad.study.references import exact_model, reference_method, stand_ins
from approxgrad.study.repeats import repeat_faults, repeated
from approxgrad.study.shards import shard_count
from approxgrad.study.spectra import Pilots, all_pilots

GRADIENT = METHODS["gradient"]()
"""What shared gradients are attributions of."""

Names = tuple[str, str, str]
"""A data set, a model and a method."""


class Study:
    """What a configuration asks for, checked beyond what types and bounds can say.

    Parameters
    ----------
    config : dict
        The configuration as Snakemake merged it.

    Attributes
    ----------
    config : Config
        Its sections as typed classes; every training of a model is one of the models.
    repeats : dict of str to str
        The model of each training after its first.
    cells : list of Cell
        All attributions.

    Raises
    ------
    ConfigError
        If the configuration is not valid; the message has one line for each fault.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        try:
            load_extensions(config)
        except ExtensionError as error:
            raise ConfigError(str(error)) from error
        self.config = configured(config)
        refuse(name_faults(self.config))
        refuse(faults(self.config))
        refuse(repeat_faults(self.config))
        self._written = self.config
        self.config, self.repeats = repeated(self.config)
        self.cells, unlike = product_cells(self.config, self._shard_count)
        refuse(unlike)
        self._by_key = {tuple(cell.keys.items()): cell for cell in [*self.cells, *self.gradients.values()]}

    @property
    def document(self) -> dict[str, Any]:
        """The configuration as plain values, with defaults filled in."""
        return document(self._written)

    def dataset(self, name: str) -> DatasetKind:
        """Return the description of a data set."""
        own: DatasetKind = self.config.datasets[name]
        return own

    def model(self, name: str) -> ModelKind:
        """Return the description of a model."""
        own: ModelKind = self.config.models[name]
        return own

    def made_from(self, model: str) -> list[ModelKind]:
        """Return the descriptions of a model and of the one that its file is made from."""
        own = self.model(model)
        return [own] if own.source_model is None else [own, self.model(own.source_model)]

    def opened_files(self, model: str) -> list[str]:
        """Return the user's own files that jobs read besides weights when they open a model."""
        return list(dict.fromkeys(file for own in self.made_from(model) for file in own.opened_files))

    def model_file(self, dataset: str, model: str) -> str:
        """Return the path of what jobs open a model from: its weights, or the file made of it; empty for none."""
        own = self.model(model)
        if own.makes:
            return MODEL_FILE.format(dataset=dataset, model=model, file=own.makes)
        return model_weights(dataset, model) if own.trained or own.fitted else ""

    def method(self, name: str) -> Method:
        """Return the description of an attribution method."""
        own: Method = self.config.methods[name]
        return own

    def cell(self, wildcards: Any) -> Cell:
        """Return the cell, or the shared gradient, that a rule's wildcards name."""
        own = {key: value for key, value in dict(wildcards.items()).items() if key != "shard"}
        order = ("dataset", "model", "samples", "method", "gradient")
        return self._by_key[tuple((key, own[key]) for key in order if key in own)]

    def cell_method(self, cell: Cell) -> Method:
        """Return the description of the method of a cell; shared gradients are themselves one."""
        return GRADIENT if isinstance(cell, SharedGradient) else self.method(cell.method)

    @cached_property
    def gradients(self) -> dict[str, SharedGradient]:
        """The gradients that methods share, by the path of their file."""
        found: dict[str, SharedGradient] = {}
        for cell in self.cells:
            if self.is_derived(cell):
                shards = self._shard_count(cell.dataset, GRADIENT, cell.gradient, cell.samples)
                own = SharedGradient(cell.dataset, cell.model, "", cell.gradient, cell.samples, shards)
                found.setdefault(own.path, own)
        return found

    def is_derived(self, cell: Cell) -> bool:
        """Whether a cell follows from a shared gradient alone, so that it evaluates nothing."""
        return not isinstance(cell, SharedGradient) and self.method(cell.method).derived

    def shared_gradient(self, cell: Cell) -> SharedGradient:
        """Return the gradient that a derived cell follows from."""
        path = SharedGradient(cell.dataset, cell.model, "", cell.gradient, cell.samples).path
        return self.gradients[path]

    @cached_property
    def evaluating(self) -> list[Cell]:
        """All cells and shared gradients whose jobs evaluate a model."""
        return [*self.gradients.values(), *(cell for cell in self.cells if not self.is_derived(cell))]

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """The settings that are chosen at run time, each once, by the path of its table."""
        return step_choices((cell, self.cell_method(cell)) for cell in self.evaluating)

    @cached_property
    def spectra(self) -> dict[str, Pilots]:
        """The spectra that are measured at training rows, by the path of their table."""
        return all_pilots(self.evaluating)

    @cached_property
    def datasets(self) -> list[str]:
        """Names of the data sets in use."""
        return _unique(cell.dataset for cell in self.cells)

    @cached_property
    def models(self) -> list[tuple[str, str]]:
        """Pairs of data set and model in use, those that others are made from as well."""
        used = _unique((cell.dataset, cell.model) for cell in self.cells)
        sources = ((dataset, self.model(model).source_model) for dataset, model in used)
        return _unique([*used, *(pair for pair in sources if pair[1] is not None)])

    @cached_property
    def comparisons(self) -> list[Names]:
        """Triples of data set, model and method for which there is an approximated attribution."""
        return _unique((cell.dataset, cell.model, cell.method) for cell in self._compared)

    @cached_property
    def pictured(self) -> list[Names]:
        """The comparisons that pages and pictures show: of models that are trained several times, the first."""
        return [names for names in self.comparisons if names[1] not in self.repeats]

    @cached_property
    def budgeted(self) -> list[Names]:
        """The comparisons with a source whose setting is a number of evaluations."""
        return _unique(
            (cell.dataset, cell.model, cell.method) for cell in self._compared if cell.gradient.kind.is_budget
        )

    @cached_property
    def _compared(self) -> list[Cell]:
        return [cell for cell in self.cells if not self.is_reference(cell)]

    def is_reference(self, cell: Cell) -> bool:
        """Whether others are compared with a cell, and not it with another."""
        if not self.method(cell.method).takes_gradients:
            return self.twin(cell.model) is None and self.reference(cell.method) == cell.method
        key = cell.dataset, cell.model, self.reference(cell.method)
        return cell.gradient in (self._stand_ins.get(key), exact_source(cell.gradient.dtype))

    @cached_property
    def reference_cells(self) -> list[Cell]:
        """One reference for each data set, model and method, in the :func:`.leading` precision that it has."""
        references = filter(self.is_reference, self.cells)
        own = sorted(references, key=lambda cell: precedence(cell.gradient.dtype), reverse=True)
        lowest = {(cell.dataset, cell.model, cell.method): cell for cell in own}
        return [cell for cell in self.cells if cell in lowest.values()]

    def approximated(self, dataset: str, model: str, method: str) -> list[Cell]:
        """Return the cells of a comparison, ordered by precision, family and setting."""
        key = (dataset, model, method)
        cells = [cell for cell in self._compared if (cell.dataset, cell.model, cell.method) == key]
        return sorted(cells, key=lambda cell: cell.gradient.rank)

    def shown(self, dataset: str, model: str, method: str) -> list[Cell]:
        """Return the cells of a comparison whose rows :func:`approxgrad.evaluation.frames.shown_rows` keeps."""
        cells = self.approximated(dataset, model, method)
        dtype = leading(cell.gradient.dtype for cell in cells)
        own = [cell.gradient for cell in cells if cell.gradient.dtype == dtype]
        fixed = {source.kind.setting_name for source in own if not source.chosen}
        shown = {source for source in own if not (source.chosen and source.kind.setting_name in fixed)}
        return [cell for cell in cells if cell.gradient in shown]

    def exact(self, dataset: str, model: str, method: str, dtype: str | None = None) -> Cell:
        """Return the cell that a method is compared with, in a precision or the :func:`.leading` one."""
        dtype = dtype or leading(cell.gradient.dtype for cell in self.approximated(dataset, model, method))
        reference = self.reference(method)
        source = self._stand_ins.get((dataset, model, reference)) or exact_source(dtype)
        if not self.method(reference).takes_gradients:
            source = evaluated_source(dtype)
        own = Cell(dataset, self.twin(model) or model, reference, source, 0)
        return self._by_key[tuple(own.keys.items())]

    def twin(self, model: str) -> str | None:
        """Return the other model with whose exact gradients a model is compared, if there is one."""
        other = exact_model(self.config, model)
        return None if other == model else other

    def references(self, dataset: str, model: str, method: str) -> list[Cell]:
        """Return what the cells of a comparison are compared with: one for each of their precisions."""
        dtypes = _unique(cell.gradient.dtype for cell in self.approximated(dataset, model, method))
        return _unique(self.exact(dataset, model, method, dtype) for dtype in dtypes)

    def reference(self, method: str) -> str:
        """Return the method whose exact attribution a method is compared with."""
        return reference_method(self.config, method)

    def compared_methods(self, dataset: str, model: str) -> list[str]:
        """Return the methods of a data set and model for which there is an approximated attribution."""
        return [method for *names, method in self.comparisons if names == [dataset, model]]

    def families(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Return how figures show the families of gradient sources of a data set."""
        return families(cell.gradient for cell in self.cells if cell.dataset == dataset)

    @cached_property
    def labels(self) -> dict[str, dict[str, str]]:
        """Names of this study for readers, by `dataset`, `model` and `method`."""
        own = labels(self.config)
        for name, model in self.repeats.items():
            own["model"][name] = f"{own['model'][model]}, training {name.rpartition('-')[2]}"
        return own

    def is_image(self, dataset: str) -> bool:
        """Whether the inputs of a data set can be shown as pictures."""
        return self.dataset(dataset).is_image

    def has_truth(self, dataset: str) -> bool:
        """Whether the true effects of a data set's features are known."""
        return self.dataset(dataset).has_truth

    def cached_arrays(self, source: str) -> list[ArrayFile]:
        """Return the files of one source of cached arrays."""
        own = self.config.cached_arrays[source]
        return find_arrays(own.folder, own.pattern, own.methods, own.steps)

    def matching_arrays(self, source: str) -> list[ArrayFile]:
        """Return also those files of a source that are left out, because another has more maps."""
        own = self.config.cached_arrays[source]
        return matching_arrays(own.folder, own.pattern, own.methods, own.steps)

    @cached_property
    def cached_methods(self) -> list[tuple[str, str]]:
        """Pairs of source and method for which there are cached arrays."""
        return _unique(
            (source, file.method) for source in self.config.cached_arrays for file in self.cached_arrays(source)
        )

    def reproduced(self, source: str, method: str) -> bool:
        """Whether this study computes what cached arrays hold, so that the two can be compared."""
        own = self.config.cached_arrays[source].compare_with
        return own is not None and (own.dataset, own.model, method) in self.comparisons

    @cached_property
    def _stand_ins(self) -> dict[Names, Source]:
        return stand_ins(self.config)

    def _shard_count(self, dataset: str, method: Method, source: Source, samples: int) -> int:
        """Return the number of shards of a cell; it follows from the configuration alone, so that it never changes."""
        if method.derived and method is not GRADIENT:
            return 1
        shape = (1,) if source.is_exact else self.dataset(dataset).feature_shape
        per_sample = None if shape is None else method.evaluations(source, shape)
        return shard_count(self.config.shards, samples, per_sample)


MODEL_FILE = "results/models/dataset={dataset}/model={model}/{file}"
"""Path of what a study makes of a model."""


def model_weights(dataset: str, model: str) -> str:
    """Return the path of the weights that a study trains or fits."""
    return MODEL_FILE.format(dataset=dataset, model=model, file="weights.safetensors")


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
