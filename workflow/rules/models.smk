rule train_model:
    """Train a model and measure it on the test rows."""
    input:
        train="data/{dataset}/train.parquet",
        validation="data/{dataset}/validation.parquet",
        test="data/{dataset}/test.parquet",
        code=code("train_model.py"),
    output:
        weights="results/models/dataset={dataset}/model={model}/weights.safetensors",
        curves="results/learning_curves/dataset={dataset}/model={model}/part-0.parquet",
        measures="results/test_metrics/dataset={dataset}/model={model}/part-0.parquet",
    log:
        "logs/train_model/{dataset}/{model}.log",
    benchmark:
        "benchmarks/train_model/{dataset}/{model}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=GPU,
    params:
        options=lambda wildcards: study.config["models"][wildcards.model],
        seed=lambda wildcards: derive_seed(study.config["seed"], "model", wildcards.dataset, wildcards.model),
        device=study.config["device"],
        torch_threads=study.config["threads"],
    script:
        "../scripts/train_model.py"


rule models:
    """All trained models of the study."""
    input:
        [rules.train_model.output.weights.format(dataset=dataset, model=model) for dataset, model in study.models],
