rule plan:
    """Say what the study costs before it is run: jobs, model evaluations and an estimated time."""
    log:
        "logs/plan.log",
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=8000,
        runtime=30,
        gpu=GPU,
    params:
        snakefile=str(BASE / "workflow" / "Snakefile"),
        # They may all use a GPU.
        model_rules=lambda wildcards: [name for name, rule in own_rules().items() if "gpu" in rule.resources],
        outputs=lambda wildcards: {name: len(rule.output) for name, rule in own_rules().items() if rule.output},
    script:
        "../scripts/plan.py"
