from approxgrad.datasets.kind import DATASETS
from approxgrad.descriptions import written


rule download:
    """Download the archive of a data set and check its MD5 sum."""
    input:
        # The checksum says what the archive holds, so newer code is no reason to download it again.
        code=ancient(code("download.py")),
    output:
        archive="data/{dataset}/cifar-10-python.tar.gz",
    log:
        "logs/download/{dataset}.log",
    benchmark:
        "benchmarks/download/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of([name for name in study.config.datasets if study.dataset(name).downloads]),
    # On a cluster often only the first node reaches the network.
    localrule: True
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=500,
        runtime=120,
    params:
        options=lambda wildcards: written(study.dataset(wildcards.dataset).download),
    script:
        "../scripts/download.py"


rule prepare_data:
    """Split a data set into training, validation and test rows."""
    input:
        extensions=lambda wildcards: extension_files(study, [dataset_module(wildcards)]),
        code=lambda wildcards: code("prepare_data.py", dataset_module(wildcards)),
        sources=own(lambda wildcards: readable_sources(study, wildcards.dataset)),
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
        kind=lambda wildcards: study.dataset(wildcards.dataset).name,
        options=lambda wildcards: study.dataset(wildcards.dataset).tracked(),
        # The time of a folder does not change with the files inside, and a replaced file can be older.
        states=lambda wildcards: [
            listing_digest(path) if path.is_dir() else file_state(path)
            for path in map(Path, study.dataset(wildcards.dataset).own_files.values())
        ],
        seed=lambda wildcards: derive_seed(study.config.seed, "data", wildcards.dataset),
        versions=lambda wildcards: versions("prepare_data.py", dataset_module(wildcards)),
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
