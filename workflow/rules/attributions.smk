from approxgrad.study.needs import (
    choice_path,
    evaluation_options,
    named_choice,
    named_pilots,
    needs_training_rows,
    spectrum_path,
)


rule choose_step:
    """Choose the step of a finite difference for a model, at its inputs or along the paths to them."""
    input:
        weights=lambda wildcards: weights_of(wildcards.dataset, wildcards.model),
        test=rules.prepare_data.output.test,
        training=lambda wildcards: (
            rules.prepare_data.output.train if named_choice(study, wildcards).needs_training_rows else []
        ),
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=lambda wildcards: extension_files(study, subject_modules(named_choice(study, wildcards))),
        code=lambda wildcards: code("choose_step.py", *subject_modules(named_choice(study, wildcards))),
    output:
        choice=STEPS,
    log:
        "logs/choose_step/{dataset}/{model}/{points}/{gradient}.log",
    benchmark:
        "benchmarks/choose_step/{dataset}/{model}/{points}/{gradient}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        model=lambda wildcards: model_entry(wildcards.model),
        path_options=lambda wildcards: named_choice(study, wildcards).path_options,
        gradient=lambda wildcards: named_choice(study, wildcards).gradient.entry,
        samples=lambda wildcards: named_choice(study, wildcards).samples,
        sample_seed=lambda wildcards: derive_seed(study.config.seed, "samples", wildcards.dataset),
        seed=lambda wildcards: derive_seed(study.config.seed, "step", *named_choice(study, wildcards).keys.values()),
        # Snakemake compares the values of parameters without their names, so numbers that may be equal share one.
        evaluation=lambda wildcards: evaluation_options(study, wildcards.model),
        device=study.config.device,
        states=lambda wildcards: states(study.opened_files(wildcards.model)),
        versions=lambda wildcards: versions(
            "choose_step.py", *subject_modules(named_choice(study, wildcards)), model=wildcards.model
        ),
    script:
        "../scripts/choose_step.py"


rule measure_spectrum:
    """Measure in which directions the gradients of a model lie, at some training rows."""
    input:
        weights=lambda wildcards: weights_of(wildcards.dataset, wildcards.model),
        test=rules.prepare_data.output.test,
        training=rules.prepare_data.output.train,
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=lambda wildcards: extension_files(study, subject_modules(named_pilots(study, wildcards))),
        code=lambda wildcards: code("measure_spectrum.py", *subject_modules(named_pilots(study, wildcards))),
    output:
        spectrum=SPECTRA,
    log:
        "logs/measure_spectrum/{dataset}/{model}/{gradient}.log",
    benchmark:
        "benchmarks/measure_spectrum/{dataset}/{model}/{gradient}.tsv"
    conda:
        "../../envs/approxgrad.yaml"
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        model=lambda wildcards: model_entry(wildcards.model),
        gradient=lambda wildcards: named_pilots(study, wildcards).gradient.entry,
        sample_seed=lambda wildcards: derive_seed(study.config.seed, "pilots", wildcards.dataset),
        evaluation=lambda wildcards: evaluation_options(study, wildcards.model),
        device=study.config.device,
        states=lambda wildcards: states(study.opened_files(wildcards.model)),
        versions=lambda wildcards: versions(
            "measure_spectrum.py", *subject_modules(named_pilots(study, wildcards)), model=wildcards.model
        ),
    script:
        "../scripts/measure_spectrum.py"


rule attribute:
    """Attribute the drawn test rows with one method and gradient source."""
    input:
        weights=lambda wildcards: weights_of(wildcards.dataset, wildcards.model),
        test=rules.prepare_data.output.test,
        training=lambda wildcards: (
            rules.prepare_data.output.train if needs_training_rows(study, evaluated(wildcards)) else []
        ),
        choice=lambda wildcards: choice_path(study, evaluated(wildcards)) or [],
        spectrum=lambda wildcards: spectrum_path(evaluated(wildcards)) or [],
        # The weights do not change with what the network does with them.
        factory=own(lambda wildcards: readable_factory(study, wildcards.model)),
        extensions=lambda wildcards: extension_files(study, described_modules(evaluated(wildcards))),
        code=lambda wildcards: code("attribute.py", *described_modules(evaluated(wildcards))),
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
    threads: study.config.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        model=lambda wildcards: model_entry(wildcards.model),
        method=lambda wildcards: study.cell_method(evaluated(wildcards)).entry,
        gradient=lambda wildcards: evaluated(wildcards).gradient.entry,
        samples=lambda wildcards: evaluated(wildcards).samples,
        sample_seed=lambda wildcards: derive_seed(study.config.seed, "samples", wildcards.dataset),
        seed=lambda wildcards: derive_seed(
            study.config.seed, "gradient", wildcards.dataset, wildcards.model, wildcards.gradient
        ),
        # Snakemake compares the values of parameters without their names, so numbers that may be equal share one.
        evaluation=lambda wildcards: evaluation_options(study, wildcards.model),
        compile_model=lambda wildcards: study.config.compile and not evaluated(wildcards).gradient.is_exact,
        device=study.config.device,
        states=lambda wildcards: states(
            study.opened_files(wildcards.model) + extension_files(study, described_modules(evaluated(wildcards)))
        ),
        versions=lambda wildcards: versions(
            "attribute.py", *described_modules(evaluated(wildcards)), model=wildcards.model
        ),
    script:
        "../scripts/attribute.py"


use rule attribute as attribute_shard with:
    output:
        attributions=temp(shards_of(ATTRIBUTIONS)),
    log:
        "logs/attribute_shard/{dataset}/{model}/{method}/{gradient}/{shard}.log",
    benchmark:
        "benchmarks/attribute_shard/{dataset}/{model}/{method}/{gradient}/{shard}.tsv"
    wildcard_constraints:
        dataset=CUT_CELLS,


use rule attribute as differentiate with:
    output:
        attributions=GRADIENTS,
    log:
        "logs/differentiate/{dataset}/{model}/{samples}/{gradient}.log",
    benchmark:
        "benchmarks/differentiate/{dataset}/{model}/{samples}/{gradient}.tsv"
    wildcard_constraints:
        dataset=WHOLE_GRADIENTS,


use rule attribute as differentiate_shard with:
    output:
        attributions=temp(shards_of(GRADIENTS)),
    log:
        "logs/differentiate_shard/{dataset}/{model}/{samples}/{gradient}/{shard}.log",
    benchmark:
        "benchmarks/differentiate_shard/{dataset}/{model}/{samples}/{gradient}/{shard}.tsv"
    wildcard_constraints:
        dataset=CUT_GRADIENTS,


rule gather_shards:
    """Put the shards of an attribution together."""
    input:
        shards=lambda wildcards: evaluated(wildcards).shard_paths,
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


use rule gather_shards as gather_gradients with:
    output:
        attributions=GRADIENTS,
    log:
        "logs/gather_gradients/{dataset}/{model}/{samples}/{gradient}.log",
    benchmark:
        "benchmarks/gather_gradients/{dataset}/{model}/{samples}/{gradient}.tsv"
    wildcard_constraints:
        dataset=CUT_GRADIENTS,


rule derive:
    """Attribute with a method that is a function of input and gradient, from gradients that several share."""
    input:
        gradient=lambda wildcards: study.shared_gradient(evaluated(wildcards)).path,
        extensions=lambda wildcards: extension_files(study, [method_module(evaluated(wildcards))]),
        code=lambda wildcards: code("derive.py", method_module(evaluated(wildcards))),
    output:
        attributions=ATTRIBUTIONS,
    log:
        "logs/derive/{dataset}/{model}/{method}/{gradient}.log",
    benchmark:
        "benchmarks/derive/{dataset}/{model}/{method}/{gradient}.tsv"
    wildcard_constraints:
        dataset=DERIVED_CELLS,
    conda:
        "../../envs/approxgrad.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        method=lambda wildcards: study.cell_method(evaluated(wildcards)).entry,
        states=lambda wildcards: states(extension_files(study, [method_module(evaluated(wildcards))])),
        versions=lambda wildcards: versions("derive.py", method_module(evaluated(wildcards))),
    script:
        "../scripts/derive.py"


rule attributions:
    """All attributions of the study, and the data and models that they follow from."""
    input:
        rules.data.input,
        MODEL_FILES,
        list(study.choices),
        list(study.spectra),
        list(study.gradients),
        [cell.path for cell in study.cells],
