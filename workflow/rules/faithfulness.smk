from approxgrad.evaluation.files import FAITHFULNESS
from approxgrad.study.judged import SENSITIVITY, judged_cells, judged_references, moved_cells
from approxgrad.study.needs import choice_path, evaluation_options, needs_training_rows, spectrum_path

# The part of the configuration about sensitivity, which no number of the other measures depends on.
FAITHFULNESS_OPTIONS = written(study.config.faithfulness) if study.config.faithfulness else {}
SENSITIVITY_OPTIONS = FAITHFULNESS_OPTIONS.pop("sensitivity", {})


rule evaluate_faithfulness:
    """Ask the model how faithful the maps of a method are."""
    input:
        weights=lambda wildcards: weights_of(wildcards.dataset, wildcards.model),
        test=rules.prepare_data.output.test,
        training=rules.prepare_data.output.train,
        exact=lambda wildcards: [
            cell.path for cell in study.references(wildcards.dataset, wildcards.model, wildcards.method)
        ],
        approximated=lambda wildcards: [
            cell.path for cell in study.approximated(wildcards.dataset, wildcards.model, wildcards.method)
        ],
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=lambda wildcards: extension_files(study, faithful_modules(wildcards)),
        code=lambda wildcards: code("evaluate_faithfulness.py", *faithful_modules(wildcards)),
    output:
        faithfulness=FAITHFULNESS,
    log:
        "logs/evaluate_faithfulness/{dataset}/{model}/{method}.log",
    benchmark:
        "benchmarks/evaluate_faithfulness/{dataset}/{model}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        model=lambda wildcards: model_entry(wildcards.model),
        method=lambda wildcards: study.method(wildcards.method).entry,
        options=FAITHFULNESS_OPTIONS,
        twin=lambda wildcards: study.twin(wildcards.model) or "",
        batch_size=lambda wildcards: study.model(wildcards.model).batch_size,
        seed=lambda wildcards: derive_seed(study.config.seed, "faithfulness", wildcards.dataset),
        device=study.config.device,
        threads=study.config.threads,
        states=lambda wildcards: states(
            study.opened_files(wildcards.model) + extension_files(study, faithful_modules(wildcards))
        ),
        versions=lambda wildcards: versions(
            "evaluate_faithfulness.py", *faithful_modules(wildcards), model=wildcards.model
        ),
    script:
        "../scripts/evaluate_faithfulness.py"


rule evaluate_sensitivity:
    """Measure how much the maps of a method and gradient source change with the input."""
    input:
        attributions=ATTRIBUTIONS,
        weights=lambda wildcards: weights_of(wildcards.dataset, wildcards.model),
        test=rules.prepare_data.output.test,
        training=lambda wildcards: (
            rules.prepare_data.output.train if needs_training_rows(study, evaluated(wildcards)) else []
        ),
        choice=lambda wildcards: choice_path(study, evaluated(wildcards)) or [],
        spectrum=lambda wildcards: spectrum_path(evaluated(wildcards)) or [],
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=lambda wildcards: extension_files(study, described_modules(evaluated(wildcards))),
        code=lambda wildcards: code("evaluate_sensitivity.py", *described_modules(evaluated(wildcards))),
    output:
        sensitivity=SENSITIVITY,
    log:
        "logs/evaluate_sensitivity/{dataset}/{model}/{method}/{gradient}.log",
    benchmark:
        "benchmarks/evaluate_sensitivity/{dataset}/{model}/{method}/{gradient}.tsv"
    wildcard_constraints:
        dataset=just(moved_cells(study).values()),
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        model=lambda wildcards: model_entry(wildcards.model),
        method=lambda wildcards: study.method(wildcards.method).entry,
        gradient=lambda wildcards: evaluated(wildcards).gradient.entry,
        options={"samples": FAITHFULNESS_OPTIONS.get("samples")} | SENSITIVITY_OPTIONS,
        sample_seed=lambda wildcards: derive_seed(study.config.seed, "samples", wildcards.dataset),
        # That of the cell, and that of the moves, which are the same for all its sources.
        seed=lambda wildcards: derive_seed(
            study.config.seed, "gradient", wildcards.dataset, wildcards.model, wildcards.gradient
        ),
        moves_seed=lambda wildcards: derive_seed(study.config.seed, "sensitivity", wildcards.dataset),
        evaluation=lambda wildcards: evaluation_options(study, wildcards.model),
        compile_model=lambda wildcards: study.config.compile and not evaluated(wildcards).gradient.is_exact,
        device=study.config.device,
        states=lambda wildcards: states(
            study.opened_files(wildcards.model) + extension_files(study, described_modules(evaluated(wildcards)))
        ),
        versions=lambda wildcards: versions(
            "evaluate_sensitivity.py", *described_modules(evaluated(wildcards)), model=wildcards.model
        ),
    script:
        "../scripts/evaluate_sensitivity.py"


FAITHFUL = [
    FAITHFULNESS.format(dataset=dataset, model=model, method=method)
    for dataset, model, method in study.comparisons
    if study.config.faithfulness
]
# Of every comparison that a cell belongs to, and as it is named there; nothing where it is not measured.
MEASURED = [
    ([*names, source], SENSITIVITY.format(**cell.keys))
    for names in study.comparisons
    for source, cell in judged_cells(study, names).items()
    if SENSITIVITY_OPTIONS
]
SENSITIVITY_FILES = {"sensitivity": [path for _, path in MEASURED]} if MEASURED else {}
SENSITIVITY_NAMES = {"moved": [names for names, _ in MEASURED]} if MEASURED else {}
