from approxgrad.figures.figure import FIGURES

DRAWN = [FIGURES[name]() for name in FIGURES]

for figure in DRAWN:
    # Its own, and those of metrics that it may draw.
    extensions = [*extension_files(study, [FIGURES.module(figure.name)]), *METRIC_EXTENSIONS]

    rule:
        """A figure of one of the kinds that are described."""
        name:
            f"plot_{figure.name}"
        input:
            unpack(lambda wildcards, figure=figure: figure.inputs(study, dict(wildcards.items()))),
            extensions=extensions,
            code=code("plot.py", FIGURES.module(figure.name)),
        output:
            **{ending: f"{figure.path}.{ending}" for ending in study.config.figures.formats},
            svg=report(
                f"{figure.path}.svg",
                caption=figure.caption_path,
                category=for_readers(figure.category),
                subcategory=for_readers(figure.subcategory),
                labels=labels_for_readers(figure.labels),
            ),
            csv=f"{figure.path}.csv",
        log:
            f"logs/{figure.job_path}.log",
        benchmark:
            f"benchmarks/{figure.job_path}.tsv"
        wildcard_constraints:
            **{key: any_of(names) for key, names in figure.names(study).items()},
        conda:
            "../../envs/approxgrad.yaml"
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            figure=figure.name,
            states=states(extensions),
            written={"titles": study.config.figures.titles, "notes": study.config.figures.notes},
            options=lambda wildcards, figure=figure: figure.params(study, dict(wildcards.items())),
            versions=versions("plot.py", FIGURES.module(figure.name)),
        script:
            "../scripts/plot.py"

    getattr(rules, f"plot_{figure.name}").rule.docstring = figure.line


rule comparison_figures:
    """All figures that compare attributions; they need nothing but the attributions."""
    input:
        [cell.path for cell in study.cells],
        METRIC_FILES,
        sorted({RESIDUALS.format(dataset=dataset, model=model) for dataset, model, _ in complete_methods(study)}),
        [figure.files(study) for figure in DRAWN if figure.target == "comparison_figures"],


rule figures:
    """All figures of the study."""
    input:
        rules.attributions.input,
        rules.comparison_figures.input,
        [figure.files(study) for figure in DRAWN if figure.target == "figures"],


rule published:
    """Metrics and figures of cached arrays."""
    input:
        rules.summarise_published.input.metrics,
        rules.summarise_published.output,
        rules.list_published.output,
        [figure.files(study) for figure in DRAWN if figure.target == "published"],
