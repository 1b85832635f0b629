from approxgrad.study.path_methods import complete_methods, path_cells, with_published


rule evaluate_completeness:
    """Compare the sum of the attributions with the difference of the outputs."""
    input:
        attributions=lambda wildcards: [cell.path for cell in path_cells(study, wildcards.dataset, wildcards.model)],
        code=code("evaluate_completeness.py"),
    output:
        residuals="results/completeness/dataset={dataset}/model={model}/part-0.parquet",
    log:
        "logs/evaluate_completeness/{dataset}/{model}.log",
    benchmark:
        "benchmarks/evaluate_completeness/{dataset}/{model}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cells=lambda wildcards: [
            (cell.method, cell.gradient.name) for cell in path_cells(study, wildcards.dataset, wildcards.model)
        ],
        versions=versions("evaluate_completeness.py"),
    script:
        "../scripts/evaluate_completeness.py"


rule plot_completeness:
    """Completeness residual of Integrated Gradients over the gradient sources."""
    input:
        residuals=rules.evaluate_completeness.output.residuals,
        code=code("plot_completeness.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/method={method}/completeness.svg",
            caption="../report/completeness.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "completeness", "method": "{method}"},
        ),
        png="results/figures/dataset={dataset}/model={model}/method={method}/completeness.png",
        csv="results/figures/dataset={dataset}/model={model}/method={method}/completeness.csv",
    log:
        "logs/plot_completeness/{dataset}/{model}/{method}.log",
    benchmark:
        "benchmarks/plot_completeness/{dataset}/{model}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        methods=lambda wildcards: with_published(study, wildcards.dataset, wildcards.model, wildcards.method),
        steps=lambda wildcards: study.steps(wildcards.dataset),
        versions=versions("plot_completeness.py"),
    script:
        "../scripts/plot_completeness.py"
