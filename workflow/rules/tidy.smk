from approxgrad.study.leftovers import leftovers


rule tidy:
    """Remove the files that other configurations have made in this folder; run by name only."""
    log:
        "logs/tidy.log",
    localrule: True
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        files=lambda wildcards: [str(path) for path in leftovers(study)],
    message:
        "Remove the files of other configurations: {params.files}"
    script:
        "../scripts/tidy.py"
