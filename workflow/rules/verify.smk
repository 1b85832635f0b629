from approxgrad.verification.comparison import drawn_cells, files_of
from approxgrad.verification.recomputation import UPSTREAM, origin


rule verify:
    """Compute a random part of a finished study again and compare it with the stored files; run by name only."""
    log:
        messages="logs/verify.log",
        # Not an output: Snakemake removes the outputs of a failed job, which is when the table is needed.
        table="results/verification/cells.csv",
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=GPU,
    params:
        snakefile=str(BASE / "workflow" / "Snakefile"),
        # Data, models and chosen settings are taken as they are.
        rules=lambda wildcards: [
            name
            for name, rule in own_rules().items()
            if rule.output
            and not any(path.startswith(tuple(f"{folder}/" for folder in UPSTREAM)) for path in rule.output)
        ],
        origins=lambda wildcards: {
            path: origin(own_rules().values(), path)
            for cell in drawn_cells(study)
            for path in files_of(study, cell).values()
        },
    script:
        "../scripts/verify.py"
