from approxgrad.evaluation.files import (
    ERROR_PARTS,
    METRIC_TABLE,
    PUBLISHED_FILES,
    PUBLISHED_METRICS,
    RESIDUALS,
    cached_files,
    described_files,
)
from approxgrad.study.path_methods import complete_methods, path_cells
from approxgrad.study.split_cells import split_cells, split_models


rule evaluate:
    """Compare approximated with exact attributions, and both with the true effects where they are known."""
    input:
        exact=lambda wildcards: [
            cell.path for cell in study.references(wildcards.dataset, wildcards.model, wildcards.method)
        ],
        approximated=lambda wildcards: [
            cell.path for cell in study.approximated(wildcards.dataset, wildcards.model, wildcards.method)
        ],
        extensions=lambda wildcards: METRIC_EXTENSIONS + extension_files(study, true_modules(wildcards)),
        code=lambda wildcards: code("evaluate.py", "approxgrad.evaluation.metric_tables", *true_modules(wildcards)),
    output:
        metrics=METRIC_TABLE,
    log:
        "logs/evaluate/{dataset}/{model}/{method}.log",
    benchmark:
        "benchmarks/evaluate/{dataset}/{model}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        made_by="approxgrad.evaluation.metric_tables:method_table",
        twin=lambda wildcards: study.twin(wildcards.model) or "",
        truth=lambda wildcards: true_entries(wildcards) if has_functions(wildcards) else {},
        states=lambda wildcards: states(METRIC_EXTENSIONS + extension_files(study, true_modules(wildcards))),
        versions=lambda wildcards: versions(
            "evaluate.py", "approxgrad.evaluation.metric_tables", *true_modules(wildcards)
        ),
    script:
        "../scripts/evaluate.py"


use rule evaluate as evaluate_completeness with:
    """Compare the sum of the attributions with the difference of the outputs."""
    input:
        attributions=lambda wildcards: [cell.path for cell in path_cells(study, wildcards.dataset, wildcards.model)],
        extensions=[],
        code=code("evaluate.py", "approxgrad.evaluation.completeness"),
    output:
        residuals=RESIDUALS,
    log:
        "logs/evaluate_completeness/{dataset}/{model}.log",
    benchmark:
        "benchmarks/evaluate_completeness/{dataset}/{model}.tsv"
    params:
        made_by="approxgrad.evaluation.completeness:residuals_table",
        twin="",
        truth={},
        states=[],
        methods=lambda wildcards: [cell.method for cell in path_cells(study, wildcards.dataset, wildcards.model)],
        versions=versions("evaluate.py", "approxgrad.evaluation.completeness"),


use rule evaluate as split_errors with:
    """Split the errors of attributions into rounding and truncation, by those of a source without rounding."""
    input:
        rounded=lambda wildcards: [cells[0].path for cells in split_cells(study, wildcards.dataset, wildcards.model)],
        unrounded=lambda wildcards: [cells[1].path for cells in split_cells(study, wildcards.dataset, wildcards.model)],
        exact=lambda wildcards: [cells[2].path for cells in split_cells(study, wildcards.dataset, wildcards.model)],
        extensions=[],
        code=code("evaluate.py", "approxgrad.evaluation.splitting"),
    output:
        parts=ERROR_PARTS,
    log:
        "logs/split_errors/{dataset}/{model}.log",
    benchmark:
        "benchmarks/split_errors/{dataset}/{model}.tsv"
    params:
        made_by="approxgrad.evaluation.splitting:parts_table",
        twin="",
        truth={},
        states=[],
        methods=lambda wildcards: [cells[0].method for cells in split_cells(study, wildcards.dataset, wildcards.model)],
        versions=versions("evaluate.py", "approxgrad.evaluation.splitting"),


use rule evaluate as evaluate_published with:
    """Compare the approximated with the exact maps that others cached as arrays."""
    input:
        arrays=lambda wildcards: [file.path for file in cached_files(study, **wildcards)],
        extensions=METRIC_EXTENSIONS,
        code=code("evaluate.py", "approxgrad.evaluation.metric_tables"),
    output:
        metrics=PUBLISHED_METRICS,
    log:
        "logs/evaluate_published/{source}/{method}.log",
    benchmark:
        "benchmarks/evaluate_published/{source}/{method}.tsv"
    params:
        made_by="approxgrad.evaluation.metric_tables:arrays_table",
        twin="",
        truth={},
        steps=lambda wildcards: [file.step for file in cached_files(study, **wildcards)],
        # A file can be another one although it is older than what was made from the one before.
        states=lambda wildcards: states([*(file.path for file in cached_files(study, **wildcards)), *METRIC_EXTENSIONS]),
        scheme=lambda wildcards: study.config.cached_arrays[wildcards.source].scheme,
        arrays=lambda wildcards: written(study.config.cached_arrays[wildcards.source].arrays),
        versions=versions("evaluate.py", "approxgrad.evaluation.metric_tables"),


METRIC_FILES = [
    METRIC_TABLE.format(dataset=dataset, model=model, method=method) for dataset, model, method in study.comparisons
]
# The rounding of a twin is not that of the model that is compared with it.
OWN_REFERENCES = [
    (names, cell) for names in study.comparisons for cell in study.references(*names) if cell.model == names[1]
]
PART_FILES = [ERROR_PARTS.format(dataset=dataset, model=model) for dataset, model in split_models(study)]
UNCERTAINTY = written(study.config.uncertainty)
MATTERS = {"smallest_difference": UNCERTAINTY.pop("smallest_difference")}
INTERVALS = {"seed": study.config.seed, "uncertainty": UNCERTAINTY}

# Comparisons of models that are trained several times, and the files of their trainings.
TRAINED = [
    (dataset, study.repeats.get(model, model), model, method)
    for dataset, model, method in study.comparisons
    if study.repeats.get(model, model) in study.repeats.values()
]

CACHED_FILES = described_files(study)

# Tables of the whole study by the names of their rules: what each says and is called, the file, the function that makes
# it, its inputs and parameters.
TABLES = {
    "tabulate_models": (
        "Table of the models' test measures.",
        "models",
        "results/summary/models",
        "approxgrad.evaluation.frames:measures_table",
        {
            "measures": [
                rules.train_model.output.measures.format(dataset=dataset, model=model)
                for dataset, model in study.models
            ]
        },
        {"models": study.models, "kinds": [study.model(model).words for _, model in study.models]},
    ),
    "summarise": (
        "Mean, median, their intervals, spread and quartiles of every metric over the samples.",
        "summary",
        "results/summary/summary",
        "approxgrad.evaluation.metric_tables:summary_table",
        {"metrics": METRIC_FILES},
        INTERVALS | {"comparisons": study.comparisons},
    ),
    "compare_sources": (
        "Differences between gradient sources on the same samples.",
        "gradient sources in pairs",
        "results/summary/paired",
        "approxgrad.evaluation.paired:pairs_table",
        {"metrics": METRIC_FILES},
        INTERVALS | MATTERS | {"comparisons": study.comparisons},
    ),
    **(
        {
            "compare_trainings": (
                "What holds over the trainings of a model.",
                "over trainings",
                "results/summary/trainings",
                "approxgrad.evaluation.trainings:trainings_table",
                {
                    "metrics": [
                        METRIC_TABLE.format(dataset=dataset, model=training, method=method)
                        for dataset, _, training, method in TRAINED
                    ]
                },
                INTERVALS | MATTERS | {"trained": TRAINED},
            )
        }
        if TRAINED
        else {}
    ),
    **(
        {
            "compare_faithfulness": (
                "Faithfulness of approximated attributions beside that of what they are compared with.",
                "faithfulness",
                "results/summary/faithfulness",
                "approxgrad.evaluation.faithful_sources:faithful_sources_table",
                {"faithfulness": FAITHFUL, "metrics": METRIC_FILES} | SENSITIVITY_FILES,
                INTERVALS
                | {
                    "comparisons": study.comparisons,
                    "references": [own for names in study.comparisons for own in judged_references(study, names)],
                }
                | SENSITIVITY_NAMES,
            )
        }
        if FAITHFUL
        else {}
    ),
    "tabulate_ranges": (
        "Smallest and largest value of the exact attributions.",
        "range of exact attributions",
        "results/summary/exact_ranges",
        "approxgrad.evaluation.frames:ranges_table",
        {"exact": [cell.path for cell in study.reference_cells]},
        {"cells": [(cell.dataset, cell.model, cell.method) for cell in study.reference_cells]},
    ),
    "recommend_steps": (
        "The setting to use for each data set, model, method, family and precision, and why.",
        "recommended steps",
        "results/summary/recommended_steps",
        "approxgrad.evaluation.convergence:recommendations_table",
        {
            "metrics": METRIC_FILES,
            "exact": [cell.path for _, cell in OWN_REFERENCES],
        },
        {"comparisons": study.comparisons, "references": [names for names, _ in OWN_REFERENCES]},
    ),
    "choose_sources": (
        "The best gradient source for a budget of evaluations.",
        "best source for a budget",
        "results/summary/best_sources",
        "approxgrad.evaluation.budgets:best_sources",
        {
            "metrics": [
                METRIC_TABLE.format(dataset=dataset, model=model, method=method)
                for dataset, model, method in study.budgeted
            ]
        },
        INTERVALS | {"comparisons": study.budgeted},
    ),
    "summarise_published": (
        "Mean, median, their intervals, spread and quartiles of every metric over the cached maps.",
        "summary of cached arrays",
        "results/published/summary",
        "approxgrad.evaluation.metric_tables:published_table",
        {
            "metrics": [
                PUBLISHED_METRICS.format(source=source, method=method) for source, method in study.cached_methods
            ]
        },
        INTERVALS | {"sources": study.cached_methods},
    ),
    "list_published": (
        "The files of cached maps: which are compared, and which look as if they were of another model.",
        "files of cached arrays",
        PUBLISHED_FILES,
        "approxgrad.evaluation.cached_scales:scales_table",
        {"arrays": [path for path, _ in CACHED_FILES]},
        {
            "files": [described for _, described in CACHED_FILES],
            # A file can be another one although it is older than what was made from the one before.
            "digests": lambda wildcards: states([path for path, _ in CACHED_FILES]),
        },
    ),
}

for table, (line, label, path, function, inputs, parameters) in TABLES.items():
    extensions = METRIC_EXTENSIONS if "metrics" in inputs else []

    rule:
        """A table of the whole study."""
        name:
            table
        input:
            **inputs,
            extensions=extensions,
            code=code("tabulate.py", function.partition(":")[0]),
        output:
            parquet=f"{path}.parquet",
            csv=report(
                f"{path}.csv",
                caption=f"../report/{Path(path).name}.rst",
                category="Tables",
                labels={"table": label},
            ),
        log:
            f"logs/{table}.log",
        benchmark:
            f"benchmarks/{table}.tsv"
        conda:
            "../../envs/approxgrad.yaml"
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            **parameters,
            made_by=function,
            states=states(extensions),
            versions=versions("tabulate.py", function.partition(":")[0]),
        script:
            "../scripts/tabulate.py"

    getattr(rules, table).rule.docstring = line


COMPARED_FAITHFULNESS = ["results/summary/faithfulness.parquet"] if FAITHFUL else []
OVER_TRAININGS = ["results/summary/trainings.parquet"] if TRAINED else []


rule metrics:
    """All metrics of the study, their summary, the gradient sources in pairs and the settings to use."""
    input:
        [cell.path for cell in study.cells],
        METRIC_FILES,
        PART_FILES,
        rules.summarise.output,
        rules.compare_sources.output,
        OVER_TRAININGS,
        FAITHFUL,
        SENSITIVITY_FILES.get("sensitivity", []),
        COMPARED_FAITHFULNESS,
        rules.tabulate_ranges.output,
        rules.recommend_steps.output,
        rules.choose_sources.output if study.budgeted else [],
