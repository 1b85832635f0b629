"""What a configuration may say: its sections as typed classes, with defaults and a line for each key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from approxgrad.descriptions import Description, Flag, Integer, Number, Once, Text, option
from approxgrad.methods.method import BaselineValues
from approxgrad.study.names import check_name

Name = Annotated[
    Text,
    option(
        "Letters, digits, _ and -, starting with a letter or digit.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=100,
    ),
    AfterValidator(check_name),
]
Names = Annotated[tuple[Text, ...], option("Names of entries of that section.", min_length=1), Once]


@dataclass(frozen=True)
class Uncertainty(Description):
    """How the intervals in the summary tables are computed."""

    level: Annotated[Number, option("Share of studies whose interval is to contain the true value.", gt=0, lt=1)] = 0.95
    resamples: Annotated[
        Integer, option("How often the samples are drawn again; the ends vary less with more.", ge=100, le=1000000)
    ] = 2000
    smallest_difference: Annotated[
        Number, option("Difference of a correlation or relative error from which on one source is called better.", ge=0)
    ] = 0.01


@dataclass(frozen=True)
class Sensitivity(Description):
    """How much maps change with the input: each is computed again at moved inputs, with its own method and source."""

    moves: Annotated[Integer, option("Moves of each input, drawn from the ball; each costs a map.", ge=1, le=10000)] = (
        10
    )
    radius: Annotated[
        Number, option("By how much a feature is moved at most, in units of the model's inputs; uniform.", gt=0)
    ] = 0.02


@dataclass(frozen=True)
class Faithfulness(Description):
    """How the model is asked about the maps: deletion and insertion of features, infidelity, and sensitivity."""

    samples: Annotated[Integer, option("Test rows, the first of those that are attributed.", ge=1)] = 20
    steps: Annotated[Integer, option("Steps in which the features are removed.", ge=1, le=10000)] = 20
    baseline: Annotated[BaselineValues, option("What removed features are replaced by, as for paths.")] = "mean"
    perturbations: Annotated[Integer, option("Moves of the input, for the infidelity.", ge=2, le=100000)] = 50
    noise: Annotated[
        Number, option("Standard deviation of the moves, in units of the model's inputs; Gaussian.", gt=0)
    ] = 0.1
    sensitivity: Annotated[
        Sensitivity | None,
        option("Whether, and how, it is measured how much maps change with the input; without it, it is not."),
    ] = None


@dataclass(frozen=True)
class Verify(Description):
    """How much of a finished study `snakemake verify` computes again."""

    cells: Annotated[Integer, option("Attribution files, drawn at random; all if there are fewer.", ge=1)] = 5
    seed: Annotated[Integer, option("Seed of the draw; another one takes other files.", ge=0)] = 0


@dataclass(frozen=True)
class Experiment(Description):
    """A product of data sets, models, methods and gradient sources."""

    datasets: Annotated[Names, option("Names from `datasets`.")]
    models: Annotated[Names, option("Names from `models`.")]
    methods: Annotated[Names, option("Names from `methods`.")]
    samples: Annotated[Integer, option("Test rows, the same ones for every model, method and source.", ge=1)]
    gradients: Annotated[
        Names,
        option(
            "Names from `gradients`; the exact gradient is added wherever there is one. Left out where no method takes"
            " gradients."
        ),
    ] = ()
    samples_by_method: Annotated[
        dict[Text, Annotated[Integer, option("Test rows.", ge=1)]],
        option("Other numbers of test rows for some methods."),
    ] = field(default_factory=dict)
    reference: Annotated[
        Text | None,
        option(
            "For models without an exact gradient: the source, such as central-h0.01, that others are compared with."
        ),
    ] = None


@dataclass(frozen=True)
class Pictures(Description):
    """What is written of each picture."""

    formats: Annotated[
        tuple[Literal["png", "pdf"], ...],
        option("Files beside the SVG, which the report shows, and the numbers as CSV."),
    ] = ("png", "pdf")
    titles: Annotated[Flag, option("Whether a title stands over the panels; papers say it in their captions.")] = True
    notes: Annotated[Flag, option("Whether a note below the panels explains what is drawn.")] = True


@dataclass(frozen=True)
class ArrayNames(Description):
    """Names of the arrays in a file, each N maps of d features."""

    exact: Annotated[Text, option("Array of the exact maps.")] = "arr1"
    approximated: Annotated[Text, option("Array of the approximated maps.")] = "arr2"


@dataclass(frozen=True)
class ComparedWith(Description):
    """Data set and model of this study that cached arrays are drawn beside."""

    dataset: Annotated[Text, option("Name from `datasets`.")]
    model: Annotated[Text, option("Name from `models`.")]


@dataclass(frozen=True)
class CachedArrays(Description):
    """Attribution maps that others cached as .npz files, for the target `published`."""

    folder: Annotated[Text, option("Folder of the files.")]
    pattern: Annotated[Text, option("File name with the placeholders {method}, {step} and {samples}.")]
    methods: Annotated[dict[Text, Name], option("Name of the method for each text that stands at {method}.")]
    steps: Annotated[
        dict[Text, Annotated[Number, option("Step.", gt=0)]], option("Step for each text that stands at {step}.")
    ]
    scheme: Annotated[Literal["forward", "backward", "central"], option("Scheme of the differences.")] = "forward"
    arrays: Annotated[ArrayNames, option("Names of the arrays in a file.")] = field(default_factory=ArrayNames)
    compare_with: Annotated[ComparedWith | None, option("What of this study they are drawn beside.")] = None


@dataclass(frozen=True)
class Config(Description):
    """The configuration of a study."""

    seed: Annotated[Integer, option("Everything random derives from it and from the name of what is drawn.", ge=0)]
    datasets: Annotated[dict[Name, Any], option("Data sets by name.", min_length=1)]
    models: Annotated[dict[Name, Any], option("Models by name.", min_length=1)]
    methods: Annotated[dict[Name, Any], option("Attribution methods by name.", min_length=1)]
    gradients: Annotated[dict[Name, Any], option("Approximated gradients by name.", min_length=1)]
    experiments: Annotated[tuple[Experiment, ...], option("What is computed.", min_length=1)]
    device: Annotated[Literal["auto", "cpu", "cuda"], option("Where models run; auto takes a GPU if there is one.")] = (
        "auto"
    )
    threads: Annotated[
        Integer, option("Threads of a model. Changes last digits, so --cores does not set it.", ge=1, le=1024)
    ] = 1
    compile: Annotated[
        Flag,
        option(
            "Whether models are compiled for differences: faster by a twentieth to a fifth after some seconds in every"
            " job, so for long jobs only. Changes last digits; needs a C++ compiler."
        ),
    ] = False
    memory_mib: Annotated[
        Integer | None, option("Memory of an attribution in MiB; by default 512, or a quarter of a GPU's.", ge=1)
    ] = None
    shards: Annotated[
        Annotated[Integer, option("", ge=1)] | Literal["auto"],
        option(
            "Jobs that an attribution is cut into, each with a share of the samples; auto takes one for about each"
            " million model evaluations. Results do not depend on it."
        ),
    ] = "auto"
    map_setting: Annotated[
        Annotated[Number, option("", gt=0)] | Literal["recommended"],
        option(
            "The setting at which attributions themselves are drawn: recommended is the one chosen at run time, or"
            " where there is none that of the smallest median error; a number stands for the nearest on a logarithmic"
            " scale."
        ),
    ] = "recommended"
    thesis_maps: Annotated[
        Flag,
        option("Whether a picture of each image model shows maps in the form of the thesis: sizes, without signs."),
    ] = False
    figures: Annotated[Pictures, option("What is written of each picture.")] = field(default_factory=Pictures)
    uncertainty: Annotated[Uncertainty, option("Intervals in the summary tables.")] = field(default_factory=Uncertainty)
    faithfulness: Annotated[
        Faithfulness | None,
        option("Whether, and how, the model is asked how faithful the maps are; without it, it is not."),
    ] = None
    verify: Annotated[Verify, option("What `snakemake verify` computes again.")] = field(default_factory=Verify)
    cached_arrays: Annotated[dict[Name, CachedArrays], option("Maps cached by others, for `published`.")] = field(
        default_factory=dict
    )
    extensions: Annotated[
        tuple[Text, ...], option("Python files with methods, sources, kinds, metrics and figures of your own.")
    ] = ()
    pathvars: Annotated[dict[str, Any], option("Snakemake's own path variables.")] = field(default_factory=dict)
