rule prepare_data:
    """Split a data set into training, validation and test rows."""
    input:
        code=lambda wildcards: code(
            "prepare_data.py",
            f"approxgrad.datasets.{study.config['datasets'][wildcards.dataset]['kind']}",
        ),
    output:
        train="data/{dataset}/train.parquet",
        validation="data/{dataset}/validation.parquet",
        test="data/{dataset}/test.parquet",
    log:
        "logs/prepare_data/{dataset}.log",
    benchmark:
        "benchmarks/prepare_data/{dataset}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=lambda wildcards: study.config["datasets"][wildcards.dataset],
        seed=lambda wildcards: derive_seed(study.config["seed"], "data", wildcards.dataset),
    script:
        "../scripts/prepare_data.py"


rule data:
    """All data sets of the study."""
    input:
        expand(
            "data/{dataset}/{part}.parquet",
            dataset=study.datasets,
            part=["train", "validation", "test"],
        ),
