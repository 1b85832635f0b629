rule evaluate_published:
    """Compare the approximated with the exact maps that others cached as arrays."""
    input:
        arrays=lambda wildcards: [
            file.path for file in study.cached_arrays(wildcards.source) if file.method == wildcards.method
        ],
        code=code("evaluate_published.py"),
    output:
        metrics="results/published/metrics/source={source}/method={method}/part-0.parquet",
    log:
        "logs/evaluate_published/{source}/{method}.log",
    benchmark:
        "benchmarks/evaluate_published/{source}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        steps=lambda wildcards: [
            file.step for file in study.cached_arrays(wildcards.source) if file.method == wildcards.method
        ],
        # A file can be another one although it is older than what was made from the one before.
        states=lambda wildcards: [
            file_state(file.path) for file in study.cached_arrays(wildcards.source) if file.method == wildcards.method
        ],
        scheme=lambda wildcards: study.config["cached_arrays"][wildcards.source]["scheme"],
        arrays=lambda wildcards: study.config["cached_arrays"][wildcards.source]["arrays"],
        versions=versions("evaluate_published.py"),
    script:
        "../scripts/evaluate_published.py"


rule summarise_published:
    """Mean, median, their intervals, spread and quartiles of every metric over the cached maps."""
    input:
        metrics=[
            rules.evaluate_published.output.metrics.format(source=source, method=method)
            for source, method in study.cached_methods
        ],
        code=code("summarise_published.py"),
    output:
        parquet="results/published/summary.parquet",
        csv=report(
            "results/published/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary of cached arrays"},
        ),
    log:
        "logs/summarise_published.log",
    benchmark:
        "benchmarks/summarise_published.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        sources=study.cached_methods,
        seed=study.config["seed"],
        uncertainty=study.config["uncertainty"],
        versions=versions("summarise_published.py"),
    script:
        "../scripts/summarise_published.py"


rule plot_published:
    """Box plots of cached maps, beside the study's own where it has them."""
    input:
        published=rules.evaluate_published.output.metrics,
        own=lambda wildcards: (
            rules.evaluate.output.metrics.format(
                **study.config["cached_arrays"][wildcards.source]["compare_with"], method=wildcards.method
            )
            if study.reproduced(wildcards.source, wildcards.method)
            else []
        ),
        code=code("plot_published.py"),
    output:
        svg=report(
            "results/published/figures/source={source}/method={method}/boxplots.svg",
            caption="../report/published.rst",
            category="cached arrays",
            subcategory="{source}",
            labels={"figure": "published against reproduced", "method": "{method}"},
        ),
        png="results/published/figures/source={source}/method={method}/boxplots.png",
        csv="results/published/figures/source={source}/method={method}/boxplots.csv",
    log:
        "logs/plot_published/{source}/{method}.log",
    benchmark:
        "benchmarks/plot_published/{source}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        shown=lambda wildcards: study.config["cached_arrays"][wildcards.source].get(
            "compare_with", {"dataset": wildcards.source, "model": "as cached"}
        ),
        reference=lambda wildcards: study.reference(wildcards.method),
        steps=lambda wildcards: study.steps(
            study.config["cached_arrays"][wildcards.source].get("compare_with", {}).get("dataset", "")
        ),
        versions=versions("plot_published.py"),
    script:
        "../scripts/plot_published.py"


rule published:
    """Metrics and figures of cached arrays."""
    input:
        rules.summarise_published.input.metrics,
        rules.summarise_published.output,
        [
            path.format(source=source, method=method)
            for source, method in study.cached_methods
            for path in rules.plot_published.output
        ],
