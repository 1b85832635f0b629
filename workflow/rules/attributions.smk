rule choose_step:
    """Choose the step of a finite difference for a model, at its inputs or along the paths to them."""
    input:
        weights=rules.train_model.output.weights,
        test=rules.prepare_data.output.test,
        training=lambda wildcards: (
            rules.prepare_data.output.train if study.choice(wildcards).path_options.get("baseline") == "mean" else []
        ),
        factory=own(lambda wildcards: study.readable_factory(wildcards.model)),
        code=code("choose_step.py"),
    output:
        choice=STEPS,
    log:
        "logs/choose_step/{dataset}/{model}/{points}/{gradient}.log",
    benchmark:
        "benchmarks/choose_step/{dataset}/{model}/{points}/{gradient}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        path_options=lambda wildcards: study.choice(wildcards).path_options,
        scheme=lambda wildcards: study.choice(wildcards).gradient.scheme,
        dtype=lambda wildcards: study.choice(wildcards).gradient.dtype,
        samples=lambda wildcards: study.choice(wildcards).samples,
        sample_seed=lambda wildcards: derive_seed(study.config["seed"], "samples", wildcards.dataset),
        seed=lambda wildcards: derive_seed(study.config["seed"], "step", *study.choice(wildcards).keys.values()),
        # Snakemake compares the values of parameters without their names, so numbers that may be equal share one.
        evaluation=lambda wildcards: study.evaluation(wildcards.model),
        device=study.config["device"],
        states=lambda wildcards: [file_state(path) for path in study.factory_files(wildcards.model)],
        versions=lambda wildcards: versions("choose_step.py", model=wildcards.model),
    script:
        "../scripts/choose_step.py"


rule attribute:
    """Attribute the drawn test rows with one method and gradient source."""
    input:
        weights=rules.train_model.output.weights,
        test=rules.prepare_data.output.test,
        training=lambda wildcards: (
            rules.prepare_data.output.train
            if study.config["methods"][wildcards.method].get("baseline") == "mean"
            else []
        ),
        choice=lambda wildcards: study.choice_path(study.cell(wildcards)) or [],
        # The weights do not change with what the network does with them.
        factory=own(lambda wildcards: study.readable_factory(wildcards.model)),
        code=code("attribute.py"),
    output:
        attributions=ATTRIBUTIONS,
    log:
        "logs/attribute/{dataset}/{model}/{method}/{gradient}.log",
    benchmark:
        "benchmarks/attribute/{dataset}/{model}/{method}/{gradient}.tsv"
    wildcard_constraints:
        dataset=WHOLE_CELLS,
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        method=lambda wildcards: {
            key: value for key, value in study.config["methods"][wildcards.method].items() if key != "reference"
        },
        scheme=lambda wildcards: study.cell(wildcards).gradient.scheme,
        step=lambda wildcards: study.cell(wildcards).gradient.step,
        dtype=lambda wildcards: study.cell(wildcards).gradient.dtype,
        samples=lambda wildcards: study.cell(wildcards).samples,
        sample_seed=lambda wildcards: derive_seed(study.config["seed"], "samples", wildcards.dataset),
        # Snakemake compares the values of parameters without their names, so numbers that may be equal share one.
        evaluation=lambda wildcards: study.evaluation(wildcards.model),
        compile_model=lambda wildcards: study.config["compile"] and not study.cell(wildcards).gradient.is_exact,
        device=study.config["device"],
        states=lambda wildcards: [file_state(path) for path in study.factory_files(wildcards.model)],
        versions=lambda wildcards: versions("attribute.py", model=wildcards.model),
    script:
        "../scripts/attribute.py"


use rule attribute as attribute_shard with:
    output:
        attributions=temp(SHARDS),
    log:
        "logs/attribute_shard/{dataset}/{model}/{method}/{gradient}/{shard}.log",
    benchmark:
        "benchmarks/attribute_shard/{dataset}/{model}/{method}/{gradient}/{shard}.tsv"
    wildcard_constraints:
        dataset=CUT_CELLS,


rule gather_shards:
    """Put the shards of an attribution together."""
    input:
        shards=lambda wildcards: study.cell(wildcards).shard_paths,
        code=code("gather_shards.py"),
    output:
        attributions=ATTRIBUTIONS,
    log:
        "logs/gather_shards/{dataset}/{model}/{method}/{gradient}.log",
    benchmark:
        "benchmarks/gather_shards/{dataset}/{model}/{method}/{gradient}.tsv"
    wildcard_constraints:
        dataset=CUT_CELLS,
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        versions=versions("gather_shards.py"),
    script:
        "../scripts/gather_shards.py"


rule attributions:
    """All attributions of the study, and the data and models that they follow from."""
    input:
        rules.data.input,
        MODEL_FILES,
        list(study.choices),
        [cell.path for cell in study.cells],
