import math
import re

import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.report.findings import Facts, read_facts
from approxgrad.report.pages import Section, Table, page, sections_html
from approxgrad.report.story import start, tell
from approxgrad.storage.tables import write_table

CNN = ("digits", "cnn", "saliency")
MLP = ("synthetic_linear", "mlp", "saliency")
IG = ("digits", "cnn", "integrated_gradients")
OTHER = ("digits", "cnn", "other")
REFERENCES = {"other": "integrated_gradients"}
MODELS = [("digits", "cnn", "accuracy", 0.975, 450), ("synthetic_linear", "mlp", "r2", 0.93, 300)]
LABELS = {
    "dataset": {"digits": "digits", "synthetic_linear": "synthetic linear"},
    "model": {"cnn": "CNN", "mlp": "MLP"},
    "method": {
        "saliency": "Saliency",
        "integrated_gradients": "Integrated Gradients",
        "other": "Integrated Gradients (published variant)",
    },
}
STEP = {"setting_name": "step", "symbol": "h", "exact": False}
FAMILIES = {
    "exact": {"label": "exact", "setting_name": "", "symbol": "", "exact": True},
    "forward": {"label": "forward differences", **STEP},
    "central": {"label": "central differences", **STEP},
    "directions": {"label": "random directions", "setting_name": "evaluations", "symbol": "n", "exact": False},
    "shapley": {"label": "TreeSHAP (another quantity)", "setting_name": "", "symbol": "", "exact": False},
}


TITLE = "The truth, where it is known"


def rows(names, settings, reference="exact", metric="pearson", family="forward", **columns):
    """Summary rows of one curve: `settings` maps a setting (None: exact gradients) to its median."""
    frame = pd.DataFrame({"setting": list(settings), "median": list(settings.values())}).astype(float)
    frame["family"] = ["exact" if setting is None else family for setting in settings]
    frame["gradient"] = ["exact" if setting is None else f"{family}-h{setting}" for setting in settings]
    frame["setting_name"] = [FAMILIES[name]["setting_name"] for name in frame["family"]]
    keys = dict(zip(("dataset", "model", "method"), names, strict=True)) | {"chosen": False, "dtype": "float32"}
    return frame.assign(**keys, reference=reference, metric=metric, **{"n": 50, "undefined": 0} | columns)


def facts(*tables, models=MODELS, **more):
    measures = pd.DataFrame(models, columns=["dataset", "model", "metric", "value", "n"])
    described = {"labels": LABELS, "families": dict.fromkeys(LABELS["dataset"], FAMILIES), "references": REFERENCES}
    return Facts(pd.concat(tables, ignore_index=True), measures, **described, **more)


def text(told, sections=tell):
    html = sections_html(sections(told))
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def table(told, title="Agreement with the reference"):
    """The rows of a table of the story, as mappings."""
    (section,) = [section for section in tell(told) if section.title == title]
    return [dict(zip(section.table.header, row, strict=True)) for row in section.table.rows]


def test_the_table_of_agreement_has_the_best_setting_and_the_ends():
    correlations = rows(CNN, {0.01: 0.9, 0.1: 0.8, 1: 0.7}, n=47, undefined=3)
    errors = rows(CNN, {0.01: 0.3, 0.1: 0.25, 1: 0.5}, metric="relative_error", tail=0.6, worst=1.25)
    (row,) = table(facts(correlations.assign(median_low=0.6, median_high=0.95), errors, level=0.9))
    assert row == {
        "data set": "digits",
        "model": "CNN",
        "method": "Saliency",
        "gradient": "forward differences",
        "samples": "50",
        "best tried": "h = 0.1",
        "relative error": "25.0 %",
        "95 % below": "60.0 %",
        "worst row": "125.0 %",
        "quadrature": "",
        "correlation": "0.800 (0.600 to 0.950)",
        "error at smallest": "30.0 % (h = 0.01)",
        "error at largest": "50.0 % (h = 1)",
        "undefined": "3 of 50",
    }
    assert "with its 90 % interval" in text(facts(errors, level=0.9))
    (row,) = table(facts(correlations, errors))
    assert (row["correlation"], table(facts(errors))[0]["correlation"]) == ("0.800", "undefined")


def test_rows_without_a_correlation_are_told_even_where_a_setting_has_none_with_one():
    """At the smallest step of a forest all maps are zeros: it has no median, but its rows must not vanish."""
    correlations = rows(CNN, {0.001: float("nan"), 1: 0.7}).assign(n=[0, 48], undefined=[50, 2])
    errors = rows(CNN, {0.001: 1.0, 1: 0.5}, metric="relative_error")
    (row,) = table(facts(correlations, errors))
    assert row["undefined"] == "50 of 50"


def test_settings_that_are_no_steps_and_several_families_read_well():
    errors = [
        rows(CNN, {0.1: 0.3}, metric="relative_error"),
        rows(CNN, {0.1: 0.1, 1: 0.2}, metric="relative_error", family="central"),
        rows(CNN, {16: 0.4, 64: 0.2}, metric="relative_error", family="directions"),
    ]
    told = facts(*errors)
    assert [row["best tried"] for row in table(told)] == ["h = 0.1", "h = 0.1 (edge)", "64 evaluations (edge)"]
    assert (
        "compares 5 approximated attributions with the reference: 1 data set, 1 model and 1 method, with forward "
        "differences (h = 0.1), central differences (h = 0.1 to h = 1) and random directions (16 evaluations to 64 "
        "evaluations)."
    ) in text(told, start).replace("\N{NO-BREAK SPACE}", " ")


def test_a_reference_that_is_another_source_is_told_like_the_exact_one():
    errors = rows(CNN, {0.1: 0.3, 1: 0.2}, metric="relative_error", reference="forward-h0.001")
    assert [row["best tried"] for row in table(facts(errors))] == ["h = 1 (edge)"]


def test_a_source_without_settings_is_called_by_its_label_also_as_a_reference():
    label = "TreeSHAP (another quantity)"
    against = rows(CNN, {0.1: 0.3, 1: 0.2}, metric="relative_error", reference="shapley")
    assert f"The reference of Saliency is {label}." in text(facts(against), start)
    beside = rows(CNN, {math.nan: 0.3}, metric="relative_error", family="shapley")
    told = facts(rows(CNN, {0.1: 0.3}, metric="relative_error"), beside)
    assert [row["best tried"] for row in table(told)] == ["h = 0.1", label]
    found = text(told, start)
    assert f"with forward differences (h = 0.1) and {label}." in found.replace("\N{NO-BREAK SPACE}", " ")
    assert "The reference of" not in found
    assert "nan" not in text(told).lower().split()


def test_the_headlines_follow_the_data():
    good, bad = rows(CNN, {0.1: 0.95, 1: 0.9}), rows(MLP, {0.1: 0.8, 1: 0.3})
    told = text(facts(good, bad), start)
    assert "of between 0.800 (Saliency of the MLP on synthetic linear, h = 0.1 (edge)) and 0.950 (Saliency" in told
    assert (
        "The setting matters most for Saliency of the MLP on synthetic linear: the median correlation is 0.800" in told
    )
    assert "reference of 0.950 (Saliency of the CNN on digits, h = 0.1 (edge))." in text(facts(good), start)
    told = text(facts(rows(CNN, {0.1: 0.2, 1: 0.9}), bad), start)
    assert "matters most for Saliency of the CNN on digits: the median correlation is 0.900 at h = 1 and 0.200" in told


def test_grids_of_other_ranges_are_not_compared():
    """Over its own small steps a method looks better than another that was only given large ones."""
    small, large = rows(CNN, {0.001: 0.999, 0.01: 0.99}), rows(MLP, {0.5: 0.8, 1: 0.3})
    told = text(facts(small, large), start).replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "reference of (2 settings, h = 0.001 to h = 0.01) 0.999 (Saliency of the CNN on digits, h = 0.001 (edge)); "
        "(2 settings, h = 0.5 to h = 1) 0.800 (Saliency of the MLP on synthetic linear, h = 0.5 (edge))."
    ) in told
    assert "between" not in told
    assert "most (2 settings, h = 0.001 to h = 0.01) for Saliency of the CNN" in told


def test_the_best_setting_at_the_edge_of_the_grid_is_marked_and_counted():
    errors = [
        rows(CNN, {0.1: 0.01, 1: 0.2, 2: 0.3}, metric="relative_error"),
        rows(MLP, {0.1: 0.3, 1: 0.2, 2: 0.3}, metric="relative_error"),
        rows(IG, {0.1: 0.3, 1: 0.2, 2: 0.1}, metric="relative_error"),
    ]
    told = facts(*errors)
    assert "least at the edge of the grid in 2 of 3 comparisons; a better one may lie beyond." in text(told, start)
    assert [row["best tried"] for row in table(told)] == ["h = 0.1 (edge)", "h = 1", "h = 2 (edge)"]
    assert "in none of 1 comparison." in text(facts(errors[1]), start)
    # A single setting has no edge.
    assert table(facts(rows(CNN, {1: 0.1}, metric="relative_error")))[0]["best tried"] == "h = 1"


def test_a_tail_behind_a_good_median_is_told():
    errors = rows(CNN, {0.1: 0.1, 1: 0.4}, metric="relative_error", tail=0.5, worst=1.25)
    told = text(facts(errors), start).replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "A median is not all: for Saliency of the CNN on digits at h = 0.1 the median relative error is 10.0 %, that "
        "of one row in twenty above 50.0 %, and that of the worst row 125.0 %."
    ) in told
    assert "A median is not all" not in text(facts(errors.assign(worst=0.15)), start)


def variant(error, pattern, factor):
    """Summary rows of Integrated Gradients with an error of 1 %, and of a variant of it."""
    values = {"relative_error": error, "scale_free_error": pattern, "best_factor": factor}
    own = {"relative_error": 0.01, "scale_free_error": 0.009, "best_factor": 1.001}
    return [
        rows(names, {0.1: number[name], 1: number[name]}, metric=name)
        for names, number in ((OTHER, values), (IG, own))
        for name in values
    ]


def test_a_variant_that_is_off_by_a_factor_is_told_apart_from_a_wrong_pattern():
    told = facts(*variant(0.5, 0.075, 1.97))
    said = text(told, start).replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "at h = 0.1 has a median relative error of 50.0 %. Multiplied by its best factor, 1.97 in the median, 7.5 % is "
        "left: that much of the pattern is wrong. Integrated Gradients itself has 1.0 %."
    ) in said
    title = "Variants beside what they are compared with"
    assert [list(row.values())[4:] for row in table(told, title)] == [
        [setting, "50.0 %", "7.5 %", "1.97", "1.0 %", "0.9 %"] for setting in ("h = 0.1", "h = 1")
    ]
    # Such a method is not among those whose best settings are counted.
    alone = facts(*variant(0.5, 0.075, 1.97)[:3])
    assert "Size and pattern" not in text(alone, start)
    assert "Where the best of the settings" not in text(alone, start)


def verdicts(summary, *found, reference="truth"):
    keys = dict(zip(("dataset", "model", "method"), MLP, strict=True))
    keys |= {"reference": reference, "metric": "pearson", "differ": "exact", "second": "exact"}
    return pd.DataFrame({"first": [*summary["gradient"][1:], "forward-h0.1-float64"], "verdict": found}).assign(**keys)


def test_the_truth_is_judged_row_by_row_and_not_by_two_medians():
    """All medians are above that of the exact gradient; by rows one source is worse and none better."""
    summary = rows(MLP, {None: 0.8, 0.1: 0.85, 1: 0.81, 2: 0.82}, reference="truth")
    told = facts(summary, paired=verdicts(summary, "open", "worse", "alike", "better"), smallest=0.01)
    assert (
        "The true effects: beside exact gradients, row by row, approximated attributions correlate with the true "
        "effects better in 0, worse in 1, alike in 1 and not to be told apart in 1 of 3 comparisons"
    ) in text(told, start)
    (row,) = table(told, TITLE)
    assert (row["exact"], row["best tried"], row["compared with"]) == (
        "0.800",
        "0.850 (h = 0.1 (edge))",
        "the true effects",
    )
    assert [row[name] for name in ("better", "worse", "alike", "open")] == ["0", "1", "1", "1"]
    # Without such verdicts nothing is counted.
    assert "The true effects" not in text(facts(summary), start)
    (row,) = table(facts(summary), TITLE)
    assert row["better"] == ""


def test_both_truths_stand_beside_each_other():
    signed = rows(MLP, {None: -0.2, 0.1: -0.1}, reference="truth")
    matched = rows(MLP, {None: 0.976, 0.1: 0.9}, reference="matched truth")
    pairs = [verdicts(signed, "better", "open"), verdicts(matched, "worse", "open", reference="matched truth")]
    told = facts(signed, matched, paired=pd.concat(pairs))
    assert [(row["compared with"], row["exact"]) for row in table(told, TITLE)] == [
        ("the true effects", "−0.200"),
        ("the matched truth", "0.976"),
    ]
    said = text(told, start)
    assert "with the true effects better in 1, worse in 0" in said
    assert "with the matched truth better in 0, worse in 1" in said


def test_what_single_trainings_say_is_told_apart_from_what_all_say():
    summary = rows(MLP, {None: 0.8, 3: 0.85}, reference="truth")
    keys = dict(zip(("dataset", "model", "method"), MLP, strict=True))
    keys |= {"reference": "truth", "metric": "pearson", "differ": "exact", "second": "exact", "dtype": "float32"}
    keys |= {"first": "forward-h3"}
    seen = {"estimate": -0.014, "low": -0.15, "high": 0.12, "smallest_median": -0.155, "largest_median": 0.149}
    together = pd.DataFrame([{**keys, **seen, "trainings": 3, "agreeing": 2, "verdict": "open"}])
    alone = pd.DataFrame({"model": ["mlp", "mlp-2", "mlp-3"], "verdict": ["better", "worse", "worse"]})
    told = facts(
        summary,
        paired=alone.assign(**{name: value for name, value in keys.items() if name != "model"}),
        trainings=together,
        repeats={"mlp-2": "mlp", "mlp-3": "mlp"},
    )
    (row,) = table(told, "What holds for other trainings")
    assert [row[name] for name in ("sources", "gain", "same sign", "alone", "together")] == [
        "forward-h3 or exact",
        "−0.0140 (−0.150 to 0.120)",
        "2 of 3",
        "1 better and 2 worse",
        "open",
    ]
    assert "better than the other in none of 1 comparison. In 1 more, some single training says so" in text(told, start)
    assert "other trainings" not in text(facts(summary), start)


def test_the_largest_error_that_costs_no_faithfulness_is_told():
    keys = dict(zip(("dataset", "model", "method"), CNN, strict=True)) | {"dtype": "float32"}
    asked = [
        {"gradient": gradient, "measure": measure, "relative_error": error, "gain": gain, "verdict": verdict}
        | {"n": 20}
        for gradient, error, gain, verdict in (
            ("exact", float("nan"), float("nan"), ""),
            ("forward-h0.1", 0.19, -0.01, "open"),
            ("forward-h1", 0.5, -0.4, "worse"),
        )
        for measure in ("deletion", "insertion")
    ]
    told = facts(rows(CNN, {0.1: 0.9, 1: 0.5}), faithfulness=pd.DataFrame(asked).assign(**keys))
    said = text(told, start).replace("\N{NO-BREAK SPACE}", " ")
    assert "less faithful than those of its reference for 1 of 2 sources" in said
    few = facts(rows(CNN, {0.1: 0.9}), faithfulness=pd.DataFrame(asked).assign(**keys, n=3))
    assert "less faithful" not in text(few)
    assert "without such a loss is 19.0 % (Saliency of the CNN on digits, forward-h0.1)." in said
    first, second = table(told, "Faithfulness")
    assert (first["source"], first["deletion"], first["infidelity"]) == ("forward-h0.1", "−0.0100 (open)", "")
    assert second["insertion"] == "−0.400 (worse)"


def test_exact_integrated_gradients_have_an_error_of_their_own():
    errors = rows(IG, {0.1: 0.01}, metric="relative_error")
    missed = pd.DataFrame({"relative_residual": [-0.002, 0.003, 0.0025, 9.0], "family": ["exact"] * 3 + ["forward"]})
    keys = dict(zip(("dataset", "model", "method"), IG, strict=True))
    told = facts(errors, residuals=missed.assign(**keys))
    assert "Exact is not" not in text(facts(errors, residuals=missed[:0].assign(**keys)), start)
    assert table(told)[0]["quadrature"] == "0.2 %"
    assert "difference of the outputs by 0.2 % (Integrated" in text(told, start).replace("\N{NO-BREAK SPACE}", " ")


def test_a_model_that_explains_too_little_is_pointed_out():
    models = [("synthetic_linear", "mlp", "r2", 0.38, 300), ("synthetic_linear", "mlp", "possible_r2", 0.975, 300)]
    told = text(facts(rows(MLP, {1: 0.5}), models=models), start)
    assert "R² = 0.380 where 0.975 is possible, too little to judge its attributions by the truth." in told
    models[0] = ("synthetic_linear", "mlp", "r2", 0.95, 300)
    assert "R² = 0.950 where 0.975 is possible." in text(facts(rows(MLP, {1: 0.5}), models=models), start)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([("digits", "cnn", "accuracy", 0.975, 450)], "CNN: accuracy 97.5 %."),
        ([("digits", "mlp", "r2", None, 300), ("digits", "cnn", "accuracy", 0.5, 450)], "attributed. CNN: accuracy"),
        ([("digits", "mlp", "r2", 0.93, 300)], "MLP: R² = 0.930."),
        ([("digits", "mlp", "r2", -0.2, 300)], "MLP: R² = −0.200, worse than predicting the mean."),
        ([("digits", "mlp", "hits", 3.0, 300)], "MLP: hits 3.00."),
    ],
)
def test_models_are_told_by_their_test_measures(models, expected):
    told = text(facts(rows(CNN, {1: 0.5}), models=models), start)
    assert expected in told.replace("\N{NO-BREAK SPACE}", " ")


def test_what_has_no_numbers_is_left_out():
    told = text(facts(rows(CNN, {0.1: float("nan"), 1: float("nan")}), models=[]))
    for words in ("correlation with", "best factor,", "effects:", "Data and models", "best tried", "nan"):
        assert words not in told
    assert "The question" in told


def test_facts_are_read_from_the_files_of_a_run(tmp_path):
    def write(name, frame, metadata):
        write_table(tmp_path / name, pa.Table.from_pandas(frame, preserve_index=False), metadata)
        return tmp_path / name

    told = facts(rows(CNN, {0.01: 0.998, 1: 0.71}))
    other = told.summary.assign(dtype="float64", median=0.1)
    paths = [
        write(
            "summary.parquet",
            pd.concat([told.summary, other, told.summary.assign(model="cnn-2")]),
            {"uncertainty": {"level": 0.9}},
        ),
        write("models.parquet", told.models, {}),
        write("test.parquet", pd.DataFrame({"target": [0]}), {"feature_shape": [1, 8, 8], "classes": ["a", "b"]}),
    ]
    described = {"labels": LABELS, "families": told.families, "references": REFERENCES, "repeats": {"cnn-2": "cnn"}}
    read = read_facts(paths[0], paths[1], {"digits": paths[2]}, **described)
    assert (read.level, len(read.summary)) == (0.9, 2)
    assert "Digits: inputs of 1 × 8 × 8 in 2 classes, 450 test rows, up to 50 of them attributed." in text(read)


def test_names_cannot_break_the_page():
    html = page("<b>", Section("<i>", ["<s>"], [("<u>", "&")], Table("<c>", ["<h>"], [["<d>"]])).html())
    assert not re.search("<(b|i|s|u|c|h|d)>", html)
    with pytest.raises(ValueError, match="end tag of a script"):
        page("title", "", scripts=["'</SCRIPT>'"])


def test_what_rules_is_told_where_it_is_measured():
    names = {"dataset": "digits", "model": "cnn", "method": CNN[2], "family": "forward", "setting_name": "step"}
    errors = {"rounding": [0.5, 0.001], "truncation": [1e-6, 0.2]}
    parts = [
        {**names, "dtype": "float32", "setting": step, "part": part, "error": error}
        for part, own in errors.items()
        for step, error in zip((0.0001, 1.0), own, strict=True)
    ]
    told = facts(rows(CNN, {0.0001: 0.998, 1: 0.71}), parts=pd.DataFrame(parts))
    words = text(told)
    assert "rounding rules up to h = 0.0001 and truncation rules from h = 1." in words
    large = pd.DataFrame(parts)[lambda table: table["setting"] == 1]
    only = text(facts(rows(CNN, {0.0001: 0.998, 1: 0.71}), parts=large))
    assert "float32, truncation rules from h = 1." in only
    (row,) = table(told, "Rounding and truncation, measured")
    *_, last, largest, first, other = row.values()
    assert (last, largest, first, other) == ("h = 0.0001", "50.0 %", "h = 1", "20.0 %")
    assert "Rounding and truncation" not in text(facts(rows(CNN, {0.1: 0.9, 1: 0.7})))
