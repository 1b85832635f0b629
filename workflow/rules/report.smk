from approxgrad.evaluation.files import RESIDUALS
from approxgrad.figures.figure import short_reference
from approxgrad.report.story_pictures import story_pictures
from approxgrad.study.path_methods import complete_methods

COMPLETE = sorted({(dataset, model) for dataset, model, _ in complete_methods(study) if model not in study.repeats})


rule tell_story:
    """Tell what the tables say, in sentences with pictures."""
    input:
        summary=rules.summarise.output.parquet,
        paired=rules.compare_sources.output.parquet,
        trainings=OVER_TRAININGS,
        faithfulness=COMPARED_FAITHFULNESS,
        models=rules.tabulate_models.output.parquet,
        residuals=[RESIDUALS.format(dataset=dataset, model=model) for dataset, model in COMPLETE],
        parts=PART_FILES,
        pictures=[*story_pictures(study)],
        splits=expand(rules.prepare_data.output.test, dataset=study.datasets),
        templates=templates("page.css"),
        extensions=METRIC_EXTENSIONS,
        code=code("tell_story.py"),
    output:
        page=report(
            "results/report/story.html",
            caption="../report/story.rst",
            category="Story",
            labels={"page": "the whole story"},
        ),
        start="results/report/start.html",
    log:
        "logs/tell_story.log",
    benchmark:
        "benchmarks/tell_story.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        complete=COMPLETE,
        repeats=study.repeats,
        labels=study.labels,
        families={dataset: study.families(dataset) for dataset in study.datasets},
        split=split_models(study),
        pictures=[*story_pictures(study).values()],
        references={
            method: study.reference(method) for _, _, method in study.comparisons if study.reference(method) != method
        },
        states=[file_state(path) for path in templates("page.css")],
        versions=versions("tell_story.py"),
    script:
        "../scripts/tell_story.py"


# What the pages are made from.
EXPLORER = ("page.css", "choices.css", "explorer.css", "explorer.html", "unzip.js", "explorer.js")
TABLES_PAGE = ("page.css", "choices.css", "tables.css", "tables.html", "unzip.js", "tables.js")
# The tables of this study by their names for readers, without those of cached arrays.
SHOWN = {
    label: f"{path}.csv"
    for table, (_, label, path, *_) in TABLES.items()
    if path.startswith("results/summary/") and (study.budgeted or table != "choose_sources")
}


rule build_explorer:
    """Build a page to look at every comparison of the study."""
    input:
        metrics=[
            rules.evaluate.output.metrics.format(dataset=dataset, model=model, method=method)
            for dataset, model, method in study.pictured
        ],
        exact=[study.exact(*names).path for names in study.pictured],
        approximated=[cell.path for names in study.pictured for cell in study.shown(*names)],
        templates=templates(*EXPLORER),
        extensions=METRIC_EXTENSIONS,
        code=code("build_explorer.py"),
    output:
        page=report(
            "results/report/explorer.html",
            caption="../report/explorer.rst",
            category="Explore",
            labels={"page": "explorer"},
        ),
    log:
        "logs/build_explorer.log",
    benchmark:
        "benchmarks/build_explorer.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        comparisons=[
            {
                "names": names,
                "sources": len(study.shown(*names)),
                "described": {
                    "labels": {
                        key: study.labels[key][name] for key, name in zip(["dataset", "model", "method"], names)
                    },
                    "families": study.families(names[0]),
                    "is_image": study.is_image(names[0]),
                    "against": short_reference(study, *names),
                },
            }
            for names in study.pictured
        ],
        states=[file_state(path) for path in templates(*EXPLORER)],
        versions=versions("build_explorer.py"),
    script:
        "../scripts/build_explorer.py"


rule show_tables:
    """Show the tables of the study on a page, to search and to sort."""
    input:
        tables=[*SHOWN.values()],
        templates=templates(*TABLES_PAGE),
        code=code("show_tables.py"),
    output:
        page=report(
            "results/report/tables.html",
            caption="../report/tables.rst",
            category="Tables",
            labels={"table": "all tables, to look at"},
        ),
    log:
        "logs/show_tables.log",
    benchmark:
        "benchmarks/show_tables.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        names=[*SHOWN],
        states=[file_state(path) for path in templates(*TABLES_PAGE)],
        versions=versions("show_tables.py"),
    script:
        "../scripts/show_tables.py"


rule describe_run:
    """Describe the run: configuration, versions, and how long the jobs took."""
    input:
        # Comes last, because it reads the records of all other jobs.
        finished=[
            rules.models.input,
            rules.metrics.input,
            rules.figures.input,
            rules.tell_story.output,
            rules.build_explorer.output,
            rules.show_tables.output,
        ],
        attributions=[cell.path for cell in study.cells],
        templates=templates("page.css"),
        code=code("describe_run.py"),
    output:
        page=report(
            "results/report/run.html",
            caption="../report/run.rst",
            category="About this run",
            labels={"page": "run times, versions and configuration"},
        ),
    log:
        "logs/describe_run.log",
    benchmark:
        "benchmarks/describe_run.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=500,
        runtime=30,
    params:
        config=study.document,
        benchmarks="benchmarks",
        names=sorted(
            {
                name
                for cell in [*study.cells, *study.gradients.values()]
                for name in (*cell.keys.values(), *cell.shard_names)
            }
            | {choice.points for choice in study.choices.values()}
            | {name for pilots in study.spectra.values() for name in pilots.keys.values()}
        ),
        states=[file_state(path) for path in templates("page.css")],
        versions=versions("describe_run.py"),
    script:
        "../scripts/describe_run.py"


rule pages:
    """The pages of the report: the story, the explorer, the tables and the record of the run."""
    input:
        rules.describe_run.input.finished,
        rules.describe_run.output,
