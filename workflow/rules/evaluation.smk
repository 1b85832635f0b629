rule evaluate:
    """Compare approximated with exact attributions, and both with the true effects where they are known."""
    input:
        exact=lambda wildcards: [
            cell.path for cell in study.references(wildcards.dataset, wildcards.model, wildcards.method)
        ],
        approximated=lambda wildcards: [
            cell.path for cell in study.approximated(wildcards.dataset, wildcards.model, wildcards.method)
        ],
        code=code("evaluate.py"),
    output:
        metrics="results/metrics/dataset={dataset}/model={model}/method={method}/part-0.parquet",
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
        versions=versions("evaluate.py"),
    script:
        "../scripts/evaluate.py"


rule summarise:
    """Mean, median, their intervals, spread and quartiles of every metric over the samples."""
    input:
        metrics=[
            rules.evaluate.output.metrics.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in study.comparisons
        ],
        code=code("summarise.py"),
    output:
        parquet="results/summary/summary.parquet",
        csv=report(
            "results/summary/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary"},
        ),
    log:
        "logs/summarise.log",
    benchmark:
        "benchmarks/summarise.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        comparisons=study.comparisons,
        seed=study.config["seed"],
        uncertainty=study.config["uncertainty"],
        versions=versions("summarise.py"),
    script:
        "../scripts/summarise.py"


rule compare_sources:
    """Differences between gradient sources on the same samples."""
    input:
        metrics=rules.summarise.input.metrics,
        code=code("compare_sources.py"),
    output:
        parquet="results/summary/paired.parquet",
        csv=report(
            "results/summary/paired.csv",
            caption="../report/paired.rst",
            category="Tables",
            labels={"table": "gradient sources in pairs"},
        ),
    log:
        "logs/compare_sources.log",
    benchmark:
        "benchmarks/compare_sources.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        comparisons=study.comparisons,
        seed=study.config["seed"],
        uncertainty=study.config["uncertainty"],
        versions=versions("compare_sources.py"),
    script:
        "../scripts/compare_sources.py"


rule tabulate_ranges:
    """Smallest and largest value of the exact attributions."""
    input:
        exact=[cell.path for cell in study.exact_cells],
        code=code("tabulate_ranges.py"),
    output:
        parquet="results/summary/exact_ranges.parquet",
        csv=report(
            "results/summary/exact_ranges.csv",
            caption="../report/exact_ranges.rst",
            category="Tables",
            labels={"table": "range of exact attributions"},
        ),
    log:
        "logs/tabulate_ranges.log",
    benchmark:
        "benchmarks/tabulate_ranges.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cells=[(cell.dataset, cell.model, cell.method) for cell in study.exact_cells],
        versions=versions("tabulate_ranges.py"),
    script:
        "../scripts/tabulate_ranges.py"
