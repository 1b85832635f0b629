import copy

import pytest

from approxgrad.study.configuration import ConfigError
from approxgrad.study.needs import evaluation_options, named_choice
from approxgrad.study.path_methods import complete_methods, path_cells, with_variants
from approxgrad.study.study import Study
from approxgrad.study.targets import check_targets
from small_studies import DEFAULT, SALIENCY, difference, entry, faults, key, study


def test_cells_are_the_product_with_the_exact_gradient():
    experiment = entry(
        *(difference(scheme, [0.5, 1]) for scheme in ("forward", "central")),
        datasets=["synthetic_linear", "synthetic_nonlinear"],
        methods=["saliency", "input_x_gradient"],
    )
    names = {"exact", "forward-h0.5", "forward-h1", "central-h0.5", "central-h1"}
    expected = {
        (dataset, "mlp", method, source)
        for dataset in experiment["datasets"]
        for method in experiment["methods"]
        for source in names
    }
    cells = study(experiment).cells
    assert {key(cell) for cell in cells} == expected
    assert len(cells) == len(expected)


def test_every_precision_has_its_exact_gradient():
    cells = study(entry(difference(steps=[0.5, "auto"], dtypes=["float32", "float64"]))).cells
    assert [cell.gradient.name for cell in cells] == [
        "exact",
        "exact-float64",
        "forward-h0.5",
        "forward-h0.5-float64",
        "forward-auto",
        "forward-auto-float64",
    ]
    (only, approximated) = study(entry(difference(dtypes=["float64"]))).cells
    assert (only.gradient.name, approximated.gradient.name) == ("exact-float64", "forward-h0.1-float64")


def test_comparisons_are_with_the_exact_gradient_of_the_same_precision():
    both = study(
        entry(
            difference(dtypes=["float64", "float32"]),
            methods=["integrated_gradients", "integrated_gradients_published"],
        ),
        entry(difference(dtypes=["float64"])),
    )
    published = ("synthetic_linear", "mlp", "integrated_gradients_published")
    assert [key(cell)[2:] for cell in both.references(*published)] == [
        ("integrated_gradients", "exact"),
        ("integrated_gradients", "exact-float64"),
    ]
    assert [cell.gradient.name for cell in both.references(*SALIENCY)] == ["exact-float64"]
    assert [key(cell)[2:] for cell in both.reference_cells] == [
        ("integrated_gradients", "exact"),
        ("saliency", "exact-float64"),
    ]


def test_path_of_a_cell_holds_its_keys():
    paths = [cell.path for cell in study(entry()).cells]
    folder = "results/attributions/dataset=synthetic_linear/model=mlp/method=saliency"
    assert paths == [f"{folder}/gradient=exact/part-0.parquet", f"{folder}/gradient=forward-h0.1/part-0.parquet"]


def test_approximated_cells_are_ordered_by_family_and_setting():
    both = [difference(scheme, [10, 9, 1e-5, 0.5]) for scheme in ("forward", "central")]
    cells = study(entry(*both)).approximated(*SALIENCY)
    assert [(cell.gradient.family, cell.gradient.setting) for cell in cells] == [
        (scheme, step) for scheme in ("central", "forward") for step in (1e-5, 0.5, 9, 10)
    ]
    own = difference(steps=["auto", 10, 9], dtypes=["float64", "float32"])
    cells = study(entry(own)).approximated(*SALIENCY)
    assert [(cell.gradient.dtype, cell.gradient.setting) for cell in cells] == [
        (dtype, step) for dtype in ("float32", "float64") for step in (9, 10, "auto")
    ]


def test_the_published_variant_is_compared_with_its_reference():
    published = study(entry(methods=["integrated_gradients_published"]))
    assert [key(cell)[2:] for cell in published.cells] == [
        ("integrated_gradients", "exact"),
        ("integrated_gradients_published", "forward-h0.1"),
    ]
    assert published.exact("synthetic_linear", "mlp", "integrated_gradients_published") == published.cells[0]
    assert published.comparisons == [("synthetic_linear", "mlp", "integrated_gradients_published")]


def test_samples_may_differ_between_methods():
    cells = study(entry(methods=["saliency", "input_x_gradient"], samples_by_method={"saliency": 2})).cells
    assert {cell.method: cell.samples for cell in cells} == {"saliency": 2, "input_x_gradient": 5}


def test_overlapping_experiments_share_cells():
    cells = study(entry(difference(steps=[0.1, 0.2])), entry(difference(steps=[0.2, 0.3]))).cells
    assert [cell.gradient.setting for cell in cells] == [None, 0.1, 0.2, 0.3]


def test_overlapping_experiments_with_other_samples_are_refused():
    lines = faults(entry(), entry(samples=6))
    assert lines[0] == (
        "experiments[1]: asks for 6 samples of synthetic_linear, mlp, saliency, exact, elsewhere it is 5; "
        "expected one number"
    )
    assert len(lines) == 2


def test_all_unknown_names_are_reported_at_once():
    lines = faults(entry(datasets=["a", "synthetic_linear"], methods=["b"]), entry(models=["c"]))
    assert [line.split(",")[0] for line in lines] == [
        "experiments[0].datasets: got 'a'",
        "experiments[0].methods: got 'b'",
        "experiments[1].models: got 'c'",
    ]


@pytest.mark.parametrize("count", [{"samples": 301}, {"samples_by_method": {"saliency": 301}}])
def test_more_samples_than_test_rows_are_refused(count):
    (line,) = faults(entry(**count))
    assert line.endswith("got 301, expected at most 300, the test rows of synthetic_linear")
    assert study(entry(samples=300)).cells[0].samples == 300


@pytest.mark.parametrize("reference", ["nothing", "integrated_gradients_published_mean"])
def test_references_have_an_exact_counterpart(reference):
    methods = copy.deepcopy(DEFAULT["methods"])
    methods["integrated_gradients_published"]["reference"] = reference
    (line,) = faults(entry(), methods=methods)
    assert line.startswith(f"methods.integrated_gradients_published.reference: got '{reference}', expected a method")


def test_samples_for_a_method_outside_the_entry_are_refused():
    (line,) = faults(entry(samples_by_method={"input_x_gradient": 1}))
    assert line == "experiments[0].samples_by_method.input_x_gradient: is not among the entry's methods, saliency"


def test_kinds_of_data_sets():
    both = study(entry(datasets=["digits", "synthetic_linear"]))
    assert both.datasets == ["digits", "synthetic_linear"]
    assert [both.is_image(name) for name in both.datasets] == [True, False]
    assert [both.has_truth(name) for name in both.datasets] == [False, True]
    assert both.models == [("digits", "mlp"), ("synthetic_linear", "mlp")]


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("dataset=digits/model=mlp", "dataset is 'digits', expected one of synthetic_linear"),
        ("dataset=synthetic_linear/model=cnn/x.svg", "model is 'cnn', expected one of mlp"),
        (
            "dataset=synthetic_linear/model=mlp/method=saliency/gradient=forward-h0.2/part-0.parquet",
            "gradient is 'forward-h0.2', expected one of exact, forward-h0.1, central-h3",
        ),
        (
            "dataset=synthetic_linear/model=mlp/method=saliency/gradient=central-h3/part-0.parquet",
            "no experiment combines these; see `experiments` in the configuration",
        ),
    ],
)
def test_targets_that_no_experiment_holds_are_refused(target, complaint):
    two = study(entry(), entry(difference("central", [3]), methods=["input_x_gradient"]))
    with pytest.raises(ConfigError) as error:
        check_targets(two, ["--cores", "1", f"results/{target}"])
    assert str(error.value) == f"results/{target}: {complaint}"


def test_targets_of_the_study_are_accepted():
    one = study(entry(difference(steps=[0.1, "auto"], dtypes=["float32", "float64"])))
    own = [*(cell.path for cell in one.cells), *one.gradients, *one.choices]
    check_targets(one, ["all", "-n", "--directory=elsewhere/model=x", *own])


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("points=path-zero-50/gradient=forward-auto", "points is 'path-zero-50', expected one of inputs"),
        ("points=inputs/gradient=forward-h0.1", "no experiment combines these; see `experiments` in the configuration"),
        (
            "method=saliency/gradient=forward-auto",
            "no experiment combines these; see `experiments` in the configuration",
        ),
    ],
)
def test_only_the_chosen_steps_of_the_study_are_targets(target, complaint):
    path = f"results/steps/dataset=synthetic_linear/model=mlp/{target}/part-0.parquet"
    own = study(entry(difference(steps=[0.1, "auto"])))
    with pytest.raises(ConfigError) as error:
        check_targets(own, [path])
    assert str(error.value) == f"{path}: {complaint}"


def with_options(**options):
    return {"models": DEFAULT["models"] | {"mlp": DEFAULT["models"]["mlp"] | options}}


def test_how_a_model_is_evaluated_is_no_part_of_its_network():
    usual, own = (
        study(entry()),
        study(entry(), **with_options(batch_size=1, check_rows=False), memory_mib=64, threads=2),
    )
    assert own.model("mlp").architecture() == usual.model("mlp").architecture()
    assert own.model("mlp").architecture().keys() == {"architecture", "hidden", "dropout"}
    expected = {"batch_size": None, "check_rows": True, "memory_mib": None, "threads": 1}
    assert evaluation_options(usual, "mlp") == expected
    assert evaluation_options(own, "mlp") == {"batch_size": 1, "check_rows": False, "memory_mib": 64, "threads": 2}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 0}, "models.mlp.batch_size: got 0, expected at least 1"),
        ({"batch_size": True}, "models.mlp.batch_size: got True, expected an integer"),
        ({"batch_size": 2.0}, "models.mlp.batch_size: got 2.0, expected an integer"),
        ({"check_rows": "no"}, "models.mlp.check_rows: got 'no', expected true or false"),
        ({"check_rows": 0}, "models.mlp.check_rows: got 0, expected true or false"),
    ],
)
def test_unfit_options_of_evaluation_are_refused(options, complaint):
    assert faults(entry(), **with_options(**options)) == [complaint]


def test_a_study_that_chooses_no_step_has_none_as_target():
    with pytest.raises(ConfigError, match=r"points is 'inputs', expected none, because the study chooses no step$"):
        check_targets(study(entry()), ["results/steps/dataset=synthetic_linear/model=mlp/points=inputs/part-0.parquet"])


def test_cells_shared_gradients_and_choices_are_found_by_wildcards():
    own = study(entry(difference(steps=[0.1, "auto"]), methods=["saliency", "integrated_gradients"]), shards=2)
    for cell in [*own.cells, *own.gradients.values()]:
        for wildcards in (cell.keys, cell.keys | {"shard": "1-of-2"}, dict(reversed(cell.keys.items()))):
            assert own.cell(wildcards) is cell
    for choice in own.choices.values():
        assert named_choice(own, choice.keys) is choice


def test_the_configuration_is_not_changed():
    config = copy.deepcopy(DEFAULT)
    own = Study(config)
    assert config == DEFAULT
    assert own.config.experiments[1].samples_by_method == own.document["experiments"][1]["samples_by_method"] == {}
    assert own.document["map_setting"] == "recommended"


def test_path_methods_are_checked_for_completeness_beside_their_published_variant():
    own = study(
        entry(methods=["saliency", "integrated_gradients", "integrated_gradients_published"]),
        entry(methods=["integrated_gradients_published_mean"]),
    )
    place = ("synthetic_linear", "mlp")
    assert [key(cell)[2:] for cell in path_cells(own, *place)] == [
        ("integrated_gradients", "exact"),
        ("integrated_gradients", "forward-h0.1"),
        ("integrated_gradients_published", "forward-h0.1"),
        ("integrated_gradients_mean", "exact"),
        ("integrated_gradients_published_mean", "forward-h0.1"),
    ]
    # The exact attribution of the mean baseline is there as the reference of the published variant.
    assert complete_methods(own) == [(*place, "integrated_gradients"), (*place, "integrated_gradients_mean")]
    assert with_variants(own, *place, "integrated_gradients") == [
        "integrated_gradients",
        "integrated_gradients_published",
    ]
    assert not path_cells(study(entry()), *place)


def test_path_methods_are_checked_in_the_lowest_precision_of_their_own():
    path = ["integrated_gradients", "integrated_gradients_published"]
    double = ["exact-float64", "forward-h0.1-float64", "forward-h0.1-float64"]
    in_double = difference(dtypes=["float64"])
    for experiments in ([entry(in_double, methods=path)], [entry(), entry(in_double, methods=path)]):
        cells = path_cells(study(*experiments), "synthetic_linear", "mlp")
        assert [cell.gradient.name for cell in cells] == double
    mixed = study(entry(in_double, methods=path[:1]), entry(methods=path[1:]))
    cells = path_cells(mixed, "synthetic_linear", "mlp")
    assert [cell.gradient.name for cell in cells] == ["exact-float64", "forward-h0.1-float64", "forward-h0.1"]


def test_shards_follow_from_the_configuration():
    entries = entry(methods=["saliency", "integrated_gradients"], samples=300)
    counts = {key(cell): cell.shards for cell in study(entries, shards=4).cells}
    # Blocks of 65,536 evaluations: 13 and 650 for each sample, 50 for one with an exact gradient.
    assert list(counts.values()) == [1, 1, 1, 3]
    assert not [cell for cell in study(entries).cells if cell.shard_paths]


def test_the_default_study_is_not_cut():
    assert {cell.shards for cell in Study(copy.deepcopy(DEFAULT)).cells} == {1}


def test_shards_have_paths_of_their_own():
    *_, cell = study(entry(methods=["integrated_gradients"], samples=300), shards=3).cells
    assert cell.shard_names == ["1-of-3", "2-of-3", "3-of-3"]
    assert cell.shard_paths[1] == cell.path.replace("results", "results/shards").replace("part-0", "shard-2-of-3")


@pytest.mark.parametrize(("shards", "got"), [(0, "0"), ("many", "'many'"), (1.5, "1.5")])
def test_unfit_numbers_of_shards_are_refused(shards, got):
    (line,) = faults(entry(), shards=shards)
    assert line.startswith(f"shards: got {got}, expected")


def test_only_the_shards_of_the_study_are_targets():
    own = study(entry(methods=["integrated_gradients"], samples=300), shards=3)
    *_, cell = own.cells
    check_targets(own, cell.shard_paths)
    with pytest.raises(ConfigError, match=r"shard-2-of-4.parquet: the study has no such shard; see `shards`"):
        check_targets(own, [cell.shard_paths[1].replace("of-3", "of-4")])
