rule recommend_steps:
    """The step to use for each data set, model, method, scheme and precision, and why."""
    input:
        metrics=[
            rules.evaluate.output.metrics.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in study.comparisons
        ],
        exact=[cell.path for names in study.comparisons for cell in study.references(*names)],
        code=code("recommend_steps.py"),
    output:
        parquet="results/summary/recommended_steps.parquet",
        csv=report(
            "results/summary/recommended_steps.csv",
            caption="../report/recommended_steps.rst",
            category="Tables",
            labels={"table": "recommended steps"},
        ),
    log:
        "logs/recommend_steps.log",
    benchmark:
        "benchmarks/recommend_steps.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        comparisons=study.comparisons,
        references=[names for names in study.comparisons for _ in study.references(*names)],
        versions=versions("recommend_steps.py"),
    script:
        "../scripts/recommend_steps.py"


rule plot_anatomy:
    """Error against step of every method, with the slopes of its two branches and the best step."""
    input:
        metrics=lambda wildcards: [
            rules.evaluate.output.metrics.format(dataset=wildcards.dataset, model=wildcards.model, method=method)
            for method in study.compared_methods(wildcards.dataset, wildcards.model)
        ],
        code=code("plot_anatomy.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/anatomy.svg",
            caption="../report/anatomy.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "error against step", "method": "all"},
        ),
        png="results/figures/dataset={dataset}/model={model}/anatomy.png",
        csv="results/figures/dataset={dataset}/model={model}/anatomy.csv",
    log:
        "logs/plot_anatomy/{dataset}/{model}.log",
    benchmark:
        "benchmarks/plot_anatomy/{dataset}/{model}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        methods=lambda wildcards: study.compared_methods(wildcards.dataset, wildcards.model),
        versions=versions("plot_anatomy.py"),
    script:
        "../scripts/plot_anatomy.py"


rule metrics:
    """All metrics of the study, their summary, the gradient sources in pairs and the steps to use."""
    input:
        [cell.path for cell in study.cells],
        rules.summarise.input.metrics,
        rules.summarise.output,
        rules.compare_sources.output,
        rules.tabulate_ranges.output,
        rules.recommend_steps.output,
