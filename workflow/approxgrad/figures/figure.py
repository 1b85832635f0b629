"""What a figure is to a study: which pictures it has, what each is drawn from, and how it is drawn."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.descriptions import Registry
from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.figures.style import complete_looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

Keys = Mapping[str, str]


class Figure:
    """A sort of picture, of which a study has one for each of its targets.

    Snakemake imports the modules of figures whenever it starts, so they import matplotlib and pandas in functions only.
    """

    name: ClassVar[str]  # as in the name of the rule that draws it
    label: ClassVar[str]  # in the report
    level: ClassVar[tuple[str, ...]]  # keys of one picture, in the order of its folders: ("dataset", "model", "method")
    caption: ClassVar[str] = ""  # in workflow/report or beside a user's own module; by default the name with .rst
    file: ClassVar[str] = ""  # the picture without ending; by default the name
    folder: ClassVar[str] = "results/figures"  # where the folders of the keys lie
    category: ClassVar[str] = "Figures for {dataset}"  # place in the report, with keys in braces
    subcategory: ClassVar[str] = "{model}"
    of_method: ClassVar[str] = "all"  # method in the report, where it is not a key
    target: ClassVar[str] = "comparison_figures"  # rule that asks for all pictures

    @property
    def path(self) -> str:
        """Path of a picture without its ending, with keys in braces."""
        return "/".join([self.folder, *(f"{key}={{{key}}}" for key in self.level), self.file or self.name])

    @property
    def labels(self) -> dict[str, str]:
        """Labels of a picture in the report."""
        return {"figure": self.label, "method": "{method}" if "method" in self.level else self.of_method}

    @property
    def line(self) -> str:
        """What it shows: the first line of the docstring."""
        return (type(self).__doc__ or "").partition("\n")[0]

    @property
    def job_path(self) -> str:
        """Path of the log of a picture without folder and ending, with keys in braces."""
        return "/".join([f"plot_{self.name}", *(f"{{{key}}}" for key in self.level)])

    @property
    def caption_path(self) -> str:
        """Path of the caption, relative to the folder of the rules where it is one of this workflow."""
        caption = self.caption or f"{self.name}.rst"
        own = Path(inspect.getfile(type(self))).with_name(caption)
        return str(own) if own.is_file() else f"../report/{caption}"

    def files(self, study: Study) -> list[str]:
        """Return the files of all pictures."""
        pictures = (self.path.format(**keys) for keys in self._keys(study))
        return [
            f"{picture}.{ending}" for picture in pictures for ending in ("svg", *study.config.figures.formats, "csv")
        ]

    def names(self, study: Study) -> dict[str, list[str]]:
        """Return the names that each key has among the pictures."""
        return {key: sorted({keys[key] for keys in self._keys(study)}) for key in self.level}

    def _keys(self, study: Study) -> list[dict[str, str]]:
        """Return the keys of every picture that is drawn: of models that are trained several times, the first."""
        named = (dict(zip(self.level, keys, strict=True)) for keys in self.targets(study))
        return [keys for keys in named if keys.get("model") not in study.repeats]

    def targets(self, study: Study) -> Sequence[tuple[str, ...]]:
        """Return the keys of every picture."""
        raise NotImplementedError

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the files that a picture is drawn from, by name."""
        raise NotImplementedError

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return what else it is drawn from, as plain values: labels of the keys, and looks of the gradient sources."""
        return {
            "labels": {key: study.labels[key][name] for key, name in keys.items()},
            "families": complete_looks(study.families(keys["dataset"])),
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return a picture and its numbers from what the other methods return; a ValueError says what a table lacks."""
        raise NotImplementedError


class ComparisonFigure(Figure):
    """A figure of a data set, model and method, whose axes are those of the other models of the data set too."""

    level: ClassVar[tuple[str, ...]] = ("dataset", "model", "method")

    def targets(self, study: Study) -> Sequence[tuple[str, ...]]:
        """Return all comparisons."""
        return study.comparisons

    def others(self, study: Study, keys: Keys) -> list[str]:
        """Return the other models of which there is this picture, and whose values its axes have room for."""
        place = keys["dataset"], keys["method"]
        models = [model for dataset, model, method in self.targets(study) if (dataset, method) == place]
        return [model for model in models if model != keys["model"] and model not in study.repeats]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the metric table, and those of the other models."""
        others = [METRIC_TABLE.format(**{**keys, "model": model}) for model in self.others(study, keys)]
        return {"metrics": METRIC_TABLE.format(**keys), "others": others}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, :func:`reference_label`, and the other models."""
        names = [keys[name] for name in ("method", "dataset", "model")]
        others = self.others(study, keys)
        return super().params(study, keys) | {"against": reference_label(study, *names), "others": others}


def read_with_others(inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> list[pd.DataFrame]:
    """Return the rows that figures show of a metric table, and those of the tables of other models."""
    from approxgrad.evaluation.frames import read_shown

    models = [keys["model"], *params["others"]]
    paths = [inputs["metrics"], *listed(inputs.get("others"))]
    return [read_shown(path, **{**keys, "model": model}) for path, model in zip(paths, models, strict=True)]


def listed(paths: str | Sequence[str] | None) -> list[str]:
    """Return the paths of an input, which is text where it has one alone and absent where it has none."""
    return [paths] if isinstance(paths, str) else list(paths or ())


def reference_label(study: Study, method: str, dataset: str = "", model: str = "") -> str:
    """Return what the attributions of a method are compared with, for readers.

    By default that is the exact attribution of the same method. It may be that of another method, and where a data set
    and a model without an exact gradient are given, that of the model's twin or of the source that stands in.
    """
    reference = study.reference(method)
    if not study.method(reference).takes_gradients:
        words = "the same map" if reference == method else str(study.labels["method"][reference])
        return words + twin_words(study, model)
    source = study.exact(dataset, model, method).gradient if model else None
    if source is not None and not source.is_exact:
        return source.words
    words = "exact gradients" if reference == method else f"exact {study.labels['method'][reference]}"
    return words + twin_words(study, model)


def short_reference(study: Study, dataset: str, model: str, method: str) -> str:
    """Return in a few words what the attributions of a method are compared with."""
    reference = study.exact(dataset, model, method)
    if not reference.gradient.is_exact:
        return "reference"
    return "exact" if reference.model == model else "exact of twin"


def twin_words(study: Study, model: str) -> str:
    """Return whose exact gradients a model is compared with, as words to follow; nothing if they are its own."""
    twin = study.twin(model) if model else None
    return "" if twin is None else f" of its twin {study.labels['model'][twin]}"


FIGURES: Registry[type[Figure]] = Registry(
    "figure",
    __package__,
    {
        "boxplots": "boxplots",
        "truth": "truth",
        "maps": "maps",
        "features": "features",
        "variants": "variants",
        "completeness": "completeness",
        "anatomy": "anatomy",
        "twins": "twins",
        "budget": "budget",
        "faithfulness": "faithfulness",
        "learning_curves": "learning_curves",
        "published": "published",
        "thesis_maps": "thesis_maps",
    },
)
