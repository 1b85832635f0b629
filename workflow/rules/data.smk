rule download:
    """Fetch the archive of a data set and check its MD5 sum."""
    input:
        # The checksum says what the archive holds, so newer code is no reason to fetch it again.
        code=ancient(code("download.py")),
    output:
        archive="data/{dataset}/cifar-10-python.tar.gz",
    log:
        "logs/download/{dataset}.log",
    benchmark:
        "benchmarks/download/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(study.downloads),
    # On a cluster it is often only the first node that reaches the network.
    localrule: True
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=500,
        runtime=120,
    params:
        options=lambda wildcards: study.config["datasets"][wildcards.dataset]["download"],
    script:
        "../scripts/download.py"


rule prepare_data:
    """Split a data set into training, validation and test rows."""
    input:
        code=lambda wildcards: code(
            "prepare_data.py",
            f"approxgrad.datasets.{study.config['datasets'][wildcards.dataset]['kind']}",
        ),
        sources=own(lambda wildcards: study.readable_sources(wildcards.dataset)),
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
        # Another mirror gives the same archive.
        options=lambda wildcards: {
            key: {"md5": value["md5"]} if key == "download" else value
            for key, value in study.config["datasets"][wildcards.dataset].items()
        },
        # A folder's own time does not change with the files inside, and a file's can be older than before.
        states=lambda wildcards: [
            listing_digest(path) if path.is_dir() else file_state(path)
            for path in map(Path, study.sources(wildcards.dataset))
            if wildcards.dataset not in study.downloads
        ],
        seed=lambda wildcards: derive_seed(study.config["seed"], "data", wildcards.dataset),
        versions=lambda wildcards: versions(
            "prepare_data.py",
            f"approxgrad.datasets.{study.config['datasets'][wildcards.dataset]['kind']}",
        ),
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
