rule plan:
    """Say what the study costs before it is run: jobs, model evaluations and an estimated time."""
    log:
        "logs/plan.log",
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=8000,
        runtime=30,
        gpu=GPU,
    params:
        snakefile=str(BASE / "Snakefile"),
        # All rules are known only when the job is made.
        scripts=lambda wildcards: {
            rule.name: str(BASE / "workflow" / "scripts" / Path(rule.script).name)
            for rule in workflow.rules
            if rule.output
        },
        outputs=lambda wildcards: {rule.name: len(rule.output) for rule in workflow.rules if rule.output},
    script:
        "../scripts/plan.py"
