from approxgrad.descriptions import written


rule train_model:
    """Train a model and measure it on the test rows."""
    input:
        train=rules.prepare_data.output.train,
        validation=rules.prepare_data.output.validation,
        test=rules.prepare_data.output.test,
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=extension,
        code=lambda wildcards: code("train_model.py", *kind_modules(wildcards.model)),
    output:
        weights="results/models/dataset={dataset}/model={model}/weights.safetensors",
        curves="results/learning_curves/dataset={dataset}/model={model}/part-0.parquet",
        measures=TEST_MEASURES,
    log:
        "logs/train_model/{dataset}/{model}.log",
    benchmark:
        "benchmarks/train_model/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=models_that(lambda model: model.trained),
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=GPU,
    params:
        architecture=lambda wildcards: study.model(wildcards.model).architecture(),
        training=lambda wildcards: written(study.model(wildcards.model).training),
        seed=lambda wildcards: derive_seed(study.config.seed, "model", wildcards.dataset, wildcards.model),
        device=study.config.device,
        torch_threads=study.config.threads,
        states=own_states,
        versions=lambda wildcards: versions("train_model.py", *kind_modules(wildcards.model), model=wildcards.model),
    script:
        "../scripts/train_model.py"


rule download_weights:
    """Fetch a weight file from a Hugging Face repository."""
    input:
        code=code("download_weights.py"),
    output:
        weights="data/weights/{model}.weights",
    log:
        "logs/download_weights/{model}.log",
    benchmark:
        "benchmarks/download_weights/{model}.tsv"
    retries: 2
    # As for the data, see `download`.
    localrule: True
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        source=lambda wildcards: written(study.model(wildcards.model).weights),
    script:
        "../scripts/download_weights.py"


rule load_model:
    """Fit weights that were trained elsewhere to a model and measure it on the test rows."""
    input:
        weights=own(lambda wildcards: readable_weights(study, wildcards.model)),
        test=rules.prepare_data.output.test,
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=extension,
        code=lambda wildcards: code("load_model.py", *kind_modules(wildcards.model)),
    output:
        weights="results/models/dataset={dataset}/model={model}/weights.safetensors",
        measures=TEST_MEASURES,
    log:
        "logs/load_model/{dataset}/{model}.log",
    benchmark:
        "benchmarks/load_model/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=models_that(lambda model: model.fitted),
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    params:
        architecture=lambda wildcards: study.model(wildcards.model).architecture(),
        source=lambda wildcards: written(study.model(wildcards.model).weights),
        device=study.config.device,
        torch_threads=study.config.threads,
        states=own_states,
        versions=lambda wildcards: versions("load_model.py", *kind_modules(wildcards.model), model=wildcards.model),
    script:
        "../scripts/load_model.py"


# A rule for each name of a file, because the endings tell other programs what is in it.
for made in sorted({model.makes for model in study.config.models.values()} - {""}):
    maker = f"make_{re.sub('[^A-Za-z0-9]', '_', made)}"

    rule:
        """Make a model's file from training rows, or from another model, and measure the model on the test rows."""
        name:
            maker
        input:
            train=lambda wildcards: (
                rules.prepare_data.output.train if study.model(wildcards.model).needs_training_rows else []
            ),
            source=lambda wildcards: weights_of(wildcards.dataset, study.model(wildcards.model).source_model),
            test=rules.prepare_data.output.test,
            factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
            extensions=extension,
            code=lambda wildcards: code("make_model.py", *kind_modules(wildcards.model)),
        output:
            file=MODEL_FILE.format(dataset="{dataset}", model="{model}", file=made),
            measures=TEST_MEASURES,
        log:
            f"logs/{maker}/{{dataset}}/{{model}}.log",
        benchmark:
            f"benchmarks/{maker}/{{dataset}}/{{model}}.tsv"
        wildcard_constraints:
            model=models_that(lambda model, made=made: model.makes == made),
        conda:
            "../../envs/approxgrad.yaml"
        threads: study.config.threads
        resources:
            mem_mb=8000,
            runtime=240,
            gpu=GPU,
        params:
            kind=lambda wildcards: study.model(wildcards.model).name,
            opening=lambda wildcards: study.model(wildcards.model).opening(),
            seed=lambda wildcards: derive_seed(study.config.seed, "model", wildcards.dataset, wildcards.model),
            device=study.config.device,
            torch_threads=study.config.threads,
            states=own_states,
            versions=lambda wildcards: versions("make_model.py", *kind_modules(wildcards.model), model=wildcards.model),
        script:
            "../scripts/make_model.py"


rule measure_model:
    """Measure a model without weights on the test rows."""
    input:
        test=rules.prepare_data.output.test,
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=extension,
        code=lambda wildcards: code("measure_model.py", *kind_modules(wildcards.model)),
    output:
        measures=TEST_MEASURES,
    log:
        "logs/measure_model/{dataset}/{model}.log",
    benchmark:
        "benchmarks/measure_model/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=models_that(lambda model: not (model.trained or model.fitted or model.makes)),
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    params:
        kind=lambda wildcards: study.model(wildcards.model).name,
        opening=lambda wildcards: study.model(wildcards.model).opening(),
        device=study.config.device,
        torch_threads=study.config.threads,
        states=own_states,
        versions=lambda wildcards: versions("measure_model.py", *kind_modules(wildcards.model), model=wildcards.model),
    script:
        "../scripts/measure_model.py"


MODEL_FILES = [
    path.format(dataset=dataset, model=model)
    for dataset, model in study.models
    for path in made_files(study.model(model))
]


rule models:
    """All models of the study, and all that is known of their training and their errors."""
    input:
        rules.data.input,
        MODEL_FILES,
        multiext("results/summary/models", ".parquet", ".csv"),
