import re

import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.report import wording
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
}


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
    errors = rows(CNN, {0.01: 0.3, 0.1: 0.25, 1: 0.5}, metric="relative_error")
    (row,) = table(facts(correlations.assign(median_low=0.6, median_high=0.95), errors, level=0.9))
    assert row == {
        "data set": "digits",
        "model": "CNN",
        "method": "Saliency",
        "gradient": "forward differences",
        "samples": "50",
        "best setting": "h = 0.1",
        "relative error": "25.0 %",
        "correlation": "0.800 (0.600 to 0.950)",
        "error at smallest": "30.0 % (h = 0.01)",
        "error at largest": "50.0 % (h = 1)",
        "undefined": "3 of 50",
    }
    assert "with its 90 % interval" in text(facts(errors, level=0.9))
    (row,) = table(facts(correlations, errors))
    assert (row["correlation"], table(facts(errors))[0]["correlation"]) == ("0.800", "undefined")


def test_settings_that_are_no_steps_and_several_families_read_well():
    errors = [
        rows(CNN, {0.1: 0.3}, metric="relative_error"),
        rows(CNN, {0.1: 0.1, 1: 0.2}, metric="relative_error", family="central"),
        rows(CNN, {16: 0.4, 64: 0.2}, metric="relative_error", family="directions"),
    ]
    told = facts(*errors)
    assert [row["best setting"] for row in table(told)] == ["h = 0.1", "h = 0.1", "64 evaluations"]
    assert (
        "compares 5 approximated attributions with the reference: 1 data set, 1 model and 1 method, with forward "
        "differences (h = 0.1), central differences (h = 0.1 to h = 1) and random directions (16 evaluations to 64 "
        "evaluations)."
    ) in text(told, start).replace("\N{NO-BREAK SPACE}", " ")


def test_a_reference_that_is_another_source_is_told_like_the_exact_one():
    errors = rows(CNN, {0.1: 0.3, 1: 0.2}, metric="relative_error", reference="forward-h0.001")
    assert [row["best setting"] for row in table(facts(errors))] == ["h = 1"]


def test_the_headlines_follow_the_data():
    good, bad = rows(CNN, {0.1: 0.95, 1: 0.9}), rows(MLP, {0.1: 0.8, 1: 0.3})
    told = text(facts(good, bad), start)
    assert "of between 0.800 (Saliency of the MLP on synthetic linear, h = 0.1) and 0.950 (Saliency of the CNN" in told
    assert (
        "The setting matters most for Saliency of the MLP on synthetic linear: the median correlation is 0.800" in told
    )
    assert "reference of 0.950 (Saliency of the CNN on digits, h = 0.1)." in text(facts(good), start)
    told = text(facts(rows(CNN, {0.1: 0.2, 1: 0.9}), bad), start)
    assert "matters most for Saliency of the CNN on digits: the median correlation is 0.900 at h = 1 and 0.200" in told


def test_where_the_best_setting_lies_is_counted():
    errors = [
        rows(CNN, {0.1: 0.01, 1: 0.2, 2: 0.3}, metric="relative_error"),
        rows(MLP, {0.1: 0.3, 1: 0.2, 2: 0.3}, metric="relative_error"),
        rows(IG, {0.1: 0.3, 1: 0.2, 2: 0.1}, metric="relative_error"),
    ]
    assert (
        "least at the smallest setting of the study in 1 of 3 comparisons, at the largest in 1, in between in 1."
    ) in text(facts(*errors), start)
    both = facts(errors[0], rows(MLP, {1: 0.1, 2: 0.2}, metric="relative_error"))
    assert "in all 2 comparisons, at the largest in 0" in text(both, start)


@pytest.mark.parametrize(
    ("medians", "told"),
    [
        ({0.1: 0.5, 1: 0.6}, "in all 2 cases by relative error"),
        ({0.1: 0.5, 1: 0.1}, "in 1 of 2 cases by relative error"),
        ({0.1: 0.001, 1: 0.1}, "in none of 2 cases by relative error"),
    ],
)
def test_methods_with_another_reference_are_compared_setting_by_setting(medians, told):
    both = rows(IG, {0.1: 0.01, 1: 0.2}, metric="relative_error"), rows(OTHER, medians, metric="relative_error")
    words = "Methods that are compared with another one are farther from its reference than that one"
    assert f"{words} {told} (of medians)." in text(facts(*both), start)
    assert "compared with another" not in text(facts(both[0]), start)
    # Such a method is not among those whose best settings are counted.
    assert "Where the best setting lies" not in text(facts(both[1]), start)


@pytest.mark.parametrize(
    ("medians", "high"),
    [
        ({0.1: 0.85, 1: 0.9}, "all 2 cases"),
        ({0.1: 0.8, 1: 0.7}, "1 of 2 cases"),
        ({0.1: 0.6, 1: 0.7}, "none of 2 cases"),
    ],
)
def test_the_truth_is_compared_with_exact_gradients(medians, high):
    told = text(facts(rows(MLP, {None: 0.8, **medians}, reference="truth")), start)
    assert f"is at least that of exact ones in {high}." in told


def test_paired_differences_stand_in_the_table_of_the_truth():
    summary = rows(MLP, {None: 0.8, 0.1: 0.85, 1: 0.7, 2: 0.8}, reference="truth")
    keys = dict(zip(("dataset", "model", "method"), MLP, strict=True))
    keys |= {"reference": "truth", "metric": "pearson", "differ": "exact", "second": "exact"}
    lows = pd.Series([0.01, -0.2, -1.0, 1.0])
    names = [*summary["gradient"][1:], "forward-h0.1-float64"]
    pairs = pd.DataFrame({"first": names, "low": lows, "high": lows + 0.01, "median_difference": lows}).assign(**keys)
    title = "The truth, where it is known"
    (row,) = table(facts(summary, paired=pairs), title)
    assert (row["exact"], row["best approximation"], row["at least as high"]) == ("0.800", "0.850 (h = 0.1)", "2 of 3")
    assert (row["higher row by row"], row["lower row by row"]) == ("1 of 3", "2 of 3")
    (row,) = table(facts(summary), title)
    assert (row["higher row by row"], row["lower row by row"]) == ("", "")


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
    for words in ("correlation with", "compared with another", "truth:", "Data and models", "best setting", "nan"):
        assert words not in told
    assert "The question" in told


def test_facts_are_read_from_the_files_of_a_run(tmp_path):
    def write(name, frame, metadata):
        write_table(tmp_path / name, pa.Table.from_pandas(frame, preserve_index=False), metadata)
        return tmp_path / name

    told = facts(rows(CNN, {0.01: 0.998, 1: 0.71}))
    other = told.summary.assign(dtype="float64", median=0.1)
    paths = [
        write("summary.parquet", pd.concat([told.summary, other]), {"uncertainty": {"level": 0.9}}),
        write("models.parquet", told.models, {}),
        write("test.parquet", pd.DataFrame({"target": [0]}), {"feature_shape": [1, 8, 8], "classes": ["a", "b"]}),
    ]
    described = {"labels": LABELS, "families": told.families, "references": REFERENCES}
    read = read_facts(paths[0], paths[1], {"digits": paths[2]}, **described)
    assert (read.level, len(read.summary)) == (0.9, 2)
    assert "Digits: inputs of 1 × 8 × 8 in 2 classes, 450 test rows, up to 50 of them attributed." in text(read)


def test_names_cannot_break_the_page():
    html = page("<b>", Section("<i>", ["<s>"], [("<u>", "&")], Table("<c>", ["<h>"], [["<d>"]])).html())
    assert not re.search("<(b|i|s|u|c|h|d)>", html)
    with pytest.raises(ValueError, match="end tag of a script"):
        page("title", "", scripts=["'</SCRIPT>'"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "0.500"), (0.9994, "0.9994"), (0.999996, "0.999996"), (1 - 1e-8, "more than 0.999999"), (-0.2, "−0.200")],
)
def test_correlations_near_one_are_told_apart(value, expected):
    assert wording.correlation(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "0.0 %"), (0.2504, "25.0 %"), (0.0005, "0.1 %"), (0.00032, "0.0320 %"), (-4e-17, "−4.00e−15 %")],
)
def test_no_share_but_zero_is_told_as_zero(share, expected):
    assert wording.percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.01234, "0.0123"), (-3.14159, "−3.14"), (123456, "123,456"), (1.5e-7, "1.50e−7"), (2.5e9, "2.50e9")],
)
def test_numbers_have_three_significant_digits(value, expected):
    assert wording.number(value) == expected


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
    assert "rounding rules up to h = 0.0001 and truncation from h = 1 on" in words
    (row,) = table(told, "Rounding and truncation, measured")
    *_, last, largest, first, other = row.values()
    assert (last, largest, first, other) == ("h = 0.0001", "50.0 %", "h = 1", "20.0 %")
    assert "Rounding and truncation" not in text(facts(rows(CNN, {0.1: 0.9, 1: 0.7})))
