import inspect

from approxgrad.figures.figure import FIGURES


# Paths of the pictures that a rule asks for.
def pictures(target):
    return [
        f"{figure.path.format(**dict(zip(figure.level, keys)))}.{ending}"
        for figure in (FIGURES[name]() for name in FIGURES)
        if figure.target == target
        for keys in figure.targets(study)
        for ending in ("svg", "png", "csv")
    ]


# The caption of a figure: beside the module of a user's own, or in this workflow.
def caption(figure):
    own = Path(inspect.getfile(type(figure))).with_name(figure.caption)
    return str(own) if own.is_file() else f"../report/{figure.caption}"


for figure in [FIGURES[name]() for name in FIGURES]:

    rule:
        f"""{inspect.getdoc(type(figure))}"""
        name:
            f"plot_{figure.name}"
        input:
            unpack(lambda wildcards, figure=figure: figure.inputs(study, dict(wildcards.items()))),
            code=code("plot.py", FIGURES.module(figure.name)),
        output:
            svg=report(
                f"{figure.path}.svg",
                caption=caption(figure),
                category=figure.category,
                subcategory=figure.subcategory,
                labels=figure.labels,
            ),
            png=f"{figure.path}.png",
            csv=f"{figure.path}.csv",
        log:
            "/".join([f"logs/plot_{figure.name}", *(f"{{{key}}}" for key in figure.level)]) + ".log",
        benchmark:
            "/".join([f"benchmarks/plot_{figure.name}", *(f"{{{key}}}" for key in figure.level)]) + ".tsv"
        wildcard_constraints:
            **{
                key: any_of(sorted({keys[place] for keys in figure.targets(study)}))
                for place, key in enumerate(figure.level)
            },
        conda:
            "../../envs/approxgrad.yaml"
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            figure=figure.name,
            options=lambda wildcards, figure=figure: figure.params(study, dict(wildcards.items())),
            versions=versions("plot.py", FIGURES.module(figure.name)),
        script:
            "../scripts/plot.py"


rule comparison_figures:
    """All figures that compare attributions; they need nothing but the attributions."""
    input:
        [cell.path for cell in study.cells],
        METRIC_FILES,
        sorted({RESIDUALS.format(dataset=dataset, model=model) for dataset, model, _ in complete_methods(study)}),
        pictures("comparison_figures"),


rule figures:
    """All figures of the study."""
    input:
        rules.attributions.input,
        rules.comparison_figures.input,
        pictures("figures"),


rule published:
    """Metrics and figures of cached arrays."""
    input:
        rules.summarise_published.input.metrics,
        rules.summarise_published.output,
        pictures("published"),
