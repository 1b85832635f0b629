rule evaluate:
    """Compare approximated with exact attributions, and both with the true effects where they are known."""
    input:
        exact=lambda wildcards: study.exact(wildcards.dataset, wildcards.model, wildcards.method).path,
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
        gradients=lambda wildcards: [
            cell.gradient.name for cell in study.approximated(wildcards.dataset, wildcards.model, wildcards.method)
        ],
    script:
        "../scripts/evaluate.py"


rule summarise:
    """Mean, spread and quartiles of every metric over the samples."""
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
    script:
        "../scripts/summarise.py"


rule metrics:
    """All metrics of the study and their summary."""
    input:
        rules.summarise.output,
