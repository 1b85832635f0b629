"""The study that the configuration describes, and what all rules share."""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import approxgrad
from snakemake.io import ancient, sourcecache_entry

from approxgrad.datasets.image_files import listing_digest
from approxgrad.descriptions import written
from approxgrad.provenance.dependencies import library_versions, pass_on_package, source_files
from approxgrad.provenance.digests import code_digest, file_state
from approxgrad.datasets.kind import DATASETS
from approxgrad.evaluation.files import TEST_MEASURES
from approxgrad.gradients.source import SOURCES
from approxgrad.methods.method import METHODS
from approxgrad.models.kind import MODELS
from approxgrad.study.choices import STEPS
from approxgrad.study.spectra import SPECTRA
from approxgrad.study.grid import ATTRIBUTIONS, GRADIENTS, keys_pattern, remove_gathered_shards, shards_of
from approxgrad.running.dry_run import tell_dry_runs
from approxgrad.running.lock import RUN_VARIABLE, run_alone
from approxgrad.seeds import derive_seed
from approxgrad.study.own_files import extension_files, readable_factory, readable_sources, readable_weights
from approxgrad.study.study import MODEL_FILE, Study
from approxgrad.study.targets import any_of, check_targets
from approxgrad.study.written_options import keep_written_options
from approxgrad.running.terminal import Run

# The checkout; resolved, so that a link to it is the same one.
BASE = Path(workflow.current_basedir).resolve().parents[1]

# What the handlers at the start and the end of a run share.
run_report = Run()

if not Path(approxgrad.__file__).resolve().is_relative_to(BASE):
    sys.exit(
        f"approxgrad: the installed package is {Path(approxgrad.__file__).parent}, not this checkout's; run: pip install -e '{BASE}[study]'"
    )

pass_on_package()
# So that jobs end with the process that starts them.
os.environ[RUN_VARIABLE] = str(os.getpid())

with one_line_each(DEFAULTS, lambda: [workflow.config_settings.overwrite_config]):
    keep_written_options(config, CONFIG_FILES)
    study = Study(config)
    if IS_MAIN:
        check_targets(study, sys.argv[1:])


# After a run that was killed.
def resume(remark):
    remove_gathered_shards()
    logger.info(f"approxgrad: {remark}")


if workflow.is_main_process:
    tell_dry_runs(workflow)
    run_alone(workflow, resume)


# Jobs that may use a GPU take one unit of `gpu`, of which a profile grants a number; without a GPU they take none.
GPU = int(study.config.device == "cuda" or (study.config.device == "auto" and shutil.which("nvidia-smi") is not None))


# Constraints of the first wildcard that look ahead to all others: the files of one rule among those with the same path.
def just(cells):
    return f"(?={keys_pattern(cells)}(?:/|$))[A-Za-z0-9_-]+"


DERIVED_CELLS = just(cell for cell in study.cells if study.is_derived(cell))
(WHOLE_CELLS, CUT_CELLS), (WHOLE_GRADIENTS, CUT_GRADIENTS) = (
    [just(cell for cell in own if (cell.shards > 1) == cut) for cut in (False, True)]
    for own in ([cell for cell in study.cells if not study.is_derived(cell)], study.gradients.values())
)


# What a study makes of a model: its weights or another file; nothing for a kind without any, or without a model.
def weights_of(dataset, model):
    return study.model_file(dataset, model) or [] if model else []


# The rules of this workflow under the names that they have here; another one may use it as a module. All are known only
# when a job is made.
def own_rules():
    return {name: proxy.rule for name, proxy in rules._rules.items()}


# Files of the checkout as inputs. Snakemake records them under their place in the checkout, so that results are those of
# the same code wherever it lies, and does not look at their times: a copy has new ones, and an older release that is
# unpacked over a newer one has older ones. Digests among the parameters tell that they have changed.
def checkout_files(paths):
    return [ancient(sourcecache_entry(os.path.relpath(path), os.path.relpath(path, BASE))) for path in paths]


# Whether a module is the package's, and not one of a user's extensions, whose files are inputs of their own.
def is_ours(module):
    return module.partition(".")[0] == "approxgrad"


# A script and the package's modules that it imports: Snakemake tracks a script, but not what it imports.
def code(script, *modules):
    path = BASE / "workflow" / "scripts" / script
    return checkout_files([path, *source_files(path, filter(is_ours, modules))])


# Files of extensions that describe a metric, a column of every metric table; without extensions the metrics need not be
# imported here.
METRICS_HERE = getattr(sys.modules.get("approxgrad.evaluation.metrics"), "METRICS", {})
METRIC_EXTENSIONS = extension_files(study, map(METRICS_HERE.module, METRICS_HERE)) if METRICS_HERE else []


# States of the files of extensions that a job needs.
def states(files):
    return [file_state(path) for path in files]


# What else the numbers of a script depend on: the contents of its code, and libraries.
@cache
def versions(script, *modules, model=None):
    ours = [module for module in modules if is_ours(module)]
    of_models = [kind.module for kind in study.made_from(model)] if model else []
    own = {*modules, *of_models} - {*ours, ""}
    return {
        "code": code_digest(code(script, *ours)),
        **library_versions(BASE / "workflow" / "scripts" / script, ours, sorted(own)),
    }


# A user's own files as inputs. Snakemake takes a job's results for given where an input that no rule makes is missing, so
# that is looked for here, of the jobs that a run needs.
def own(files):
    def inputs(wildcards):
        with one_line_each():
            return files(wildcards)

    return inputs


# The files that the report's pages are made from, which the scripts read and do not import.
def templates(*names):
    return checkout_files(BASE / "workflow" / "approxgrad" / "report" / "templates" / name for name in names)


def models_that(chosen):
    """A pattern of the names of some models."""
    return any_of(name for name, model in study.config.models.items() if chosen(model))


def kind_modules(model):
    """The modules that describe a model's kind, and that of the model that it is made from."""
    return list(dict.fromkeys(MODELS.module(kind.name) for kind in study.made_from(model)))


def extension(wildcards):
    """The user's own files that describe a model's kind."""
    return extension_files(study, kind_modules(wildcards.model))


def own_states(wildcards):
    """States of the user's own files that a model is made from."""
    named = study.model(wildcards.model).own_files.values()
    files = [*(file for files in named for file in files), *study.opened_files(wildcards.model)]
    return states(dict.fromkeys([*files, *extension(wildcards)]))


def made_files(model):
    """The files that are made of a model."""
    if model.makes:
        return [MODEL_FILE.format(dataset="{dataset}", model="{model}", file=model.makes), TEST_MEASURES]
    if model.trained:
        return rules.train_model.output
    return rules.load_model.output if model.fitted else rules.measure_model.output


def evaluated(wildcards):
    """The cell, or the shared gradient, that a job evaluates."""
    return study.cell(wildcards)


def method_module(cell):
    """The module that describes the method of a cell."""
    return METHODS.module(study.cell_method(cell).name)


def subject_modules(cell):
    """The modules that describe and compute the gradient source of a cell, or of a choice, and that describe its model."""
    kind = cell.gradient.kind
    described = [SOURCES.module(kind.name), kind.implementation, *kind_modules(cell.model)]
    return [module for module in described if module]


def described_modules(cell):
    """The modules that a cell is made with."""
    return [method_module(cell), *subject_modules(cell)]


def model_entry(model):
    """What jobs that evaluate a model need besides its weights."""
    own = study.model(model)
    return {"kind": own.name, **own.opening()}


def dataset_module(wildcards):
    return DATASETS.module(study.dataset(wildcards.dataset).name)


# Where a figure stands in the report, with the names for readers in place of those of the configuration.
def for_readers(template):
    def filled(wildcards):
        names = {key: study.labels.get(key, {}).get(name, name) for key, name in wildcards.items()}
        return template.format(**names)

    return filled


def labels_for_readers(labels):
    return lambda wildcards: {key: for_readers(text)(wildcards) for key, text in labels.items()}


wildcard_constraints:
    dataset="[A-Za-z0-9_-]+",
    model="[A-Za-z0-9_-]+",
    method="[A-Za-z0-9_-]+",
    gradient="[A-Za-z0-9_.-]+",
    samples="[0-9]+",
    points="inputs|path-[A-Za-z0-9_.+-]+",
    source="[A-Za-z0-9_-]+",
    shard="[1-9][0-9]*-of-[1-9][0-9]*",


# Whether a method has a matched truth on a data set, and what that follows from.
def has_functions(wildcards):
    return study.dataset(wildcards.dataset).has_functions


def true_entries(wildcards):
    own = study.dataset(wildcards.dataset)
    return {"dataset": {"kind": own.name, **written(own)}, "method": study.method(wildcards.method).entry}


def true_modules(wildcards):
    described = [dataset_module(wildcards), METHODS.module(study.method(wildcards.method).name)]
    return described if has_functions(wildcards) else []


def faithful_modules(wildcards):
    return [METHODS.module(study.method(wildcards.method).name), *kind_modules(wildcards.model)]
