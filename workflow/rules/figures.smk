rule plot_boxplots:
    """Box plots of agreement with the exact attribution over the step sizes."""
    input:
        metrics=rules.evaluate.output.metrics,
        code=code("plot_boxplots.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/method={method}/boxplots.svg",
            caption="../report/boxplots.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "approximated against exact", "method": "{method}"},
        ),
        png="results/figures/dataset={dataset}/model={model}/method={method}/boxplots.png",
        csv="results/figures/dataset={dataset}/model={model}/method={method}/boxplots.csv",
    log:
        "logs/plot_boxplots/{dataset}/{model}/{method}.log",
    benchmark:
        "benchmarks/plot_boxplots/{dataset}/{model}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reference=lambda wildcards: study.reference(wildcards.method),
        steps=lambda wildcards: study.steps(wildcards.dataset),
        versions=versions("plot_boxplots.py"),
    script:
        "../scripts/plot_boxplots.py"


rule plot_truth:
    """Violins of the correlation with the true effects."""
    input:
        metrics=rules.evaluate.output.metrics,
        code=code("plot_truth.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/method={method}/truth_correlation.svg",
            caption="../report/truth.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "correlation with the truth", "method": "{method}"},
        ),
        png="results/figures/dataset={dataset}/model={model}/method={method}/truth_correlation.png",
        csv="results/figures/dataset={dataset}/model={model}/method={method}/truth_correlation.csv",
    log:
        "logs/plot_truth/{dataset}/{model}/{method}.log",
    benchmark:
        "benchmarks/plot_truth/{dataset}/{model}/{method}.tsv"
    wildcard_constraints:
        dataset=any_of(filter(study.has_truth, study.datasets)),
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reference=lambda wildcards: study.reference(wildcards.method),
        steps=lambda wildcards: study.steps(wildcards.dataset),
        versions=versions("plot_truth.py"),
    script:
        "../scripts/plot_truth.py"


rule plot_maps:
    """Picture of original, exact and approximated attribution maps and their difference."""
    input:
        approximated=lambda wildcards: [cell.path for _, cell, _ in study.mapped(wildcards.dataset, wildcards.model)],
        exact=lambda wildcards: [cell.path for _, _, cell in study.mapped(wildcards.dataset, wildcards.model)],
        code=code("plot_maps.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/attribution_maps.svg",
            caption="../report/maps.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "attribution maps", "method": "all"},
        ),
        png="results/figures/dataset={dataset}/model={model}/attribution_maps.png",
        csv="results/figures/dataset={dataset}/model={model}/attribution_maps.csv",
    log:
        "logs/plot_maps/{dataset}/{model}.log",
    benchmark:
        "benchmarks/plot_maps/{dataset}/{model}.tsv"
    wildcard_constraints:
        dataset=any_of(filter(study.is_image, study.datasets)),
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        methods=lambda wildcards: [method for method, _, _ in study.mapped(wildcards.dataset, wildcards.model)],
        versions=versions("plot_maps.py"),
    script:
        "../scripts/plot_maps.py"


rule plot_learning_curves:
    """Loss and accuracy (or R2) over the epochs."""
    input:
        curves=rules.train_model.output.curves,
        code=code("plot_learning_curves.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/learning_curves.svg",
            caption="../report/learning_curves.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "learning curves", "method": "none"},
        ),
        png="results/figures/dataset={dataset}/model={model}/learning_curves.png",
        csv="results/figures/dataset={dataset}/model={model}/learning_curves.csv",
    log:
        "logs/plot_learning_curves/{dataset}/{model}.log",
    benchmark:
        "benchmarks/plot_learning_curves/{dataset}/{model}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        versions=versions("plot_learning_curves.py"),
    script:
        "../scripts/plot_learning_curves.py"


rule plot_variants:
    """Error of the published variant of Integrated Gradients beside that of the correct one."""
    input:
        correct=lambda wildcards: rules.evaluate.output.metrics.format(
            dataset=wildcards.dataset, model=wildcards.model, method=study.reference(wildcards.method)
        ),
        published=rules.evaluate.output.metrics,
        code=code("plot_variants.py"),
    output:
        svg=report(
            "results/figures/dataset={dataset}/model={model}/method={method}/variants.svg",
            caption="../report/variants.rst",
            category="{dataset}",
            subcategory="{model}",
            labels={"figure": "published against correct", "method": "{method}"},
        ),
        png="results/figures/dataset={dataset}/model={model}/method={method}/variants.png",
        csv="results/figures/dataset={dataset}/model={model}/method={method}/variants.csv",
    log:
        "logs/plot_variants/{dataset}/{model}/{method}.log",
    benchmark:
        "benchmarks/plot_variants/{dataset}/{model}/{method}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reference=lambda wildcards: study.reference(wildcards.method),
        versions=versions("plot_variants.py"),
    script:
        "../scripts/plot_variants.py"


rule comparison_figures:
    """All figures that compare attributions; they need nothing but the attributions."""
    input:
        [cell.path for cell in study.cells],
        rules.summarise.input.metrics,
        [
            path.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in study.comparisons
            for path in rules.plot_boxplots.output
        ],
        [
            path.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in study.comparisons
            if study.has_truth(dataset)
            for path in rules.plot_truth.output
        ],
        [
            path.format(dataset=dataset, model=model)
            for dataset, model in study.models
            if study.is_image(dataset) and study.mapped(dataset, model)
            for path in rules.plot_maps.output
        ],
        [
            path.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in study.variants
            for path in rules.plot_variants.output
        ],
        [
            path.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in complete_methods(study)
            for path in rules.plot_completeness.output
        ],
        sorted(
            {
                rules.evaluate_completeness.output.residuals.format(dataset=dataset, model=model)
                for dataset, model, _ in complete_methods(study)
            }
        ),
        [
            path.format(dataset=dataset, model=model)
            for dataset, model in study.models
            for path in rules.plot_anatomy.output
        ],


rule figures:
    """All figures of the study."""
    input:
        rules.attributions.input,
        rules.comparison_figures.input,
        [
            path.format(dataset=dataset, model=model)
            for dataset, model in study.models
            if model in study.trained_models
            for path in rules.plot_learning_curves.output
        ],
