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
PUBLISHED = ("digits", "cnn", "integrated_gradients_published")
REFERENCES = {"integrated_gradients_published": "integrated_gradients"}
MODELS = [("digits", "cnn", "accuracy", 0.975, 450), ("synthetic_linear", "mlp", "r2", 0.93, 300)]


def rows(names, steps, reference="exact", metric="pearson", scheme="forward", **columns):
    """Summary rows of one curve: `steps` maps a step (None: exact gradients) to its median."""
    frame = pd.DataFrame({"step": list(steps), "median": list(steps.values())}).astype(float)
    frame["scheme"] = ["exact" if step is None else scheme for step in steps]
    frame["gradient"] = ["exact" if step is None else f"{scheme}-h{step}" for step in steps]
    keys = dict(zip(("dataset", "model", "method"), names, strict=True))
    return frame.assign(
        **keys, dtype="float32", reference=reference, metric=metric, **{"n": 50, "undefined": 0} | columns
    )


def facts(*tables, models=MODELS, **more):
    measures = pd.DataFrame(models, columns=["dataset", "model", "metric", "value", "n"])
    return Facts(pd.concat(tables, ignore_index=True), measures, references=REFERENCES, **more)


def text(told, sections=tell):
    html = sections_html(sections(told))
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def test_agreement_is_told_with_interval_best_step_and_direction():
    curve = rows(CNN, {0.01: 0.998, 1: 0.71}).assign(median_low=[0.997, 0.6], median_high=[0.999, 0.8])
    assert (
        "Saliency: the median correlation with the exact attribution is 0.998 (95 % interval 0.997 to 0.999) at "
        "h = 0.01, the best step, and falls to 0.710 at h = 1, the largest step."
    ) in text(facts(curve, level=0.95))
    assert "(90 % interval" in text(facts(curve, level=0.9))
    assert "interval 0.9" not in text(facts(curve.drop(columns=["median_low", "median_high"])))


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ({0.1: 0.9, 1: 0.5}, "is 0.900 at h = 0.1, the best step, and falls to 0.500 at h = 1, the largest step."),
        ({0.1: 0.5, 1: 0.9}, "is 0.900 at h = 1, the best step, and falls to 0.500 at h = 0.1, the smallest step."),
        (
            {0.1: 0.90003, 1: 0.90001},
            "is 0.900 at h = 0.1, the best step, and stays at 0.900 at h = 1, the largest step.",
        ),
        (
            {0.01: 0.6, 0.1: 0.9, 1: 0.8},
            "and falls to 0.800 at h = 1, the largest step; it falls to 0.600 at h = 0.01, the smallest step.",
        ),
        ({0.1: 0.9}, "is 0.900 at h = 0.1, the only step."),
    ],
    ids=["falls", "best is the largest", "stays", "best in between", "one step"],
)
def test_the_sentence_follows_the_order_of_the_medians(medians, expected):
    assert expected in text(facts(rows(CNN, medians)))


def test_the_headlines_follow_the_data():
    good, bad = rows(CNN, {0.1: 0.95, 1: 0.9}), rows(MLP, {0.1: 0.8, 1: 0.3})
    told = text(facts(good, bad), start)
    assert "of between 0.800 (Saliency of the MLP on synthetic linear, h = 0.1) and 0.950 (Saliency of the CNN" in told
    assert "The step matters most for Saliency of the MLP on synthetic linear: the median correlation is 0.800" in told
    told = text(facts(rows(CNN, {0.1: 0.2, 1: 0.9}), bad), start)
    assert "matters most for Saliency of the CNN on digits: the median correlation is 0.900 at h = 1 and 0.200" in told


def test_where_the_best_step_lies_is_counted():
    errors = [
        rows(CNN, {0.1: 0.01, 1: 0.2, 2: 0.3}, metric="relative_error"),
        rows(MLP, {0.1: 0.3, 1: 0.2, 2: 0.3}, metric="relative_error"),
        rows(IG, {0.1: 0.3, 1: 0.2, 2: 0.1}, metric="relative_error"),
    ]
    told = text(facts(*errors), start)
    assert (
        "least at the smallest step of the study in 1 of 3 comparisons, at the largest in 1, in between in 1." in told
    )
    assert "in all 2 comparisons, at the largest in 0" in text(
        facts(errors[0], rows(MLP, {1: 0.1, 2: 0.2}, metric="relative_error"))
    )


@pytest.mark.parametrize(
    ("published", "short", "long"),
    [
        ({0.1: 0.5, 1: 0.6}, "in all 2 cases by relative error", "at all 2 steps"),
        ({0.1: 0.5, 1: 0.1}, "in 1 of 2 cases by relative error", "at 1 of 2 steps"),
        ({0.1: 0.001, 1: 0.1}, "in none of 2 cases by relative error", "at none of 2 steps"),
    ],
)
def test_the_published_variant_is_compared_step_by_step(published, short, long):
    both = rows(IG, {0.1: 0.01, 1: 0.2}, metric="relative_error"), rows(PUBLISHED, published, metric="relative_error")
    told = text(facts(*both))
    assert f"is farther from exact Integrated Gradients than the correct one {short} (of medians)." in told
    assert f"its least median relative error is {100 * min(published.values()):.1f} %" in told
    assert f"The latter has the smaller one {long}." in told


@pytest.mark.parametrize(
    ("medians", "high", "ends"),
    [
        ({0.1: 0.85, 1: 0.9}, "all 2 cases", ("+0.0500", "+0.100")),
        ({0.1: 0.8, 1: 0.7}, "1 of 2 cases", ("−0.100", "0")),
        ({0.1: 0.6, 1: 0.7}, "none of 2 cases", ("−0.200", "−0.100")),
    ],
)
def test_the_truth_is_compared_with_exact_gradients(medians, high, ends):
    told = text(facts(rows(MLP, {None: 0.8, **medians}, reference="truth")), start)
    assert f"is at least that of exact ones in {high}." in told
    low, most = (re.escape(end) for end in ends)
    assert re.search(rf"The difference goes from {low} \(Saliency.*\) to {most} \(", told)


def test_paired_differences_are_told_where_they_were_computed():
    table = rows(MLP, {None: 0.8, 0.1: 0.85, 1: 0.7, 2: 0.8}, reference="truth")
    keys = dict(zip(("dataset", "model", "method"), MLP, strict=True))
    keys |= {"reference": "truth", "metric": "pearson", "differ": "exact"}

    def pairs(precision, *ends):
        names = [f"forward-h{step}{precision}" for step in ("0.1", "1", "2")]
        numbers = pd.DataFrame({"first": names, "low": ends, "high": [0.01 + low for low in ends]})
        dtype = precision.lstrip("-") or "float32"
        return numbers.assign(**keys, median_difference=ends, second=f"exact{precision}", dtype=dtype)

    sentence = "Row by row, the interval of the median difference lies above zero at 1 of 3 steps and below it at 2."
    single, double = pairs("", 0.01, -0.2, -1), pairs("-float64", 1, 1, 1)
    assert sentence in text(facts(table, paired=pd.concat([double, single])))
    # A study in float64 only is told alike.
    assert sentence.replace("1 of 3 steps and below it at 2", "all 3 steps and below it at 0") in text(
        facts(table.assign(dtype="float64"), paired=double)
    )
    assert "Row by row" not in text(facts(table))


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([("digits", "cnn", "accuracy", 0.975, 450)], "The CNN classifies 97.5 % of the test rows correctly."),
        (
            [("digits", "mlp", "r2", None, 300), ("digits", "cnn", "accuracy", 0.5, 450)],
            "attributed. The CNN classifies",
        ),
        ([("digits", "mlp", "r2", 0.93, 300)], "The MLP explains 93.0 % of the targets' variance."),
        (
            [("digits", "mlp", "r2", -0.2, 300)],
            "The MLP predicts worse than the mean of the targets does (R² = −0.200).",
        ),
    ],
)
def test_models_are_told_by_their_test_measures(models, expected):
    assert expected in text(facts(rows(CNN, {1: 0.5}), models=models)).replace("&#x27;", "'")


def test_what_has_no_numbers_is_left_out():
    told = text(facts(rows(CNN, {0.1: float("nan"), 1: float("nan")}), models=[]))
    for words in ("correlation with", "published", "truth:", "Data and models", "best steps", "nan"):
        assert words not in told
    assert "The question" in told


def test_undefined_rows_and_several_schemes_are_named():
    both = rows(CNN, {1: 0.5}, n=47, undefined=3), rows(CNN, {1: 0.6}, scheme="central")
    told = text(facts(*both))
    assert "up to 3 of 50 rows have no correlation, because a map is constant." in told
    assert "Saliency, forward differences:" in told
    assert "Saliency, central differences:" in told
    assert "with forward and central differences" in told


def test_the_table_of_best_steps():
    correlations, errors = rows(CNN, {0.1: 0.9, 1: 0.8}), rows(CNN, {0.1: 0.3, 1: 0.25}, metric="relative_error")
    (section,) = [s for s in tell(facts(correlations, errors)) if s.title == "The best steps"]
    assert section.table.rows == [["digits", "CNN", "Saliency", "forward", "50", "1", "25.0 %", "0.800", "1", "25.0 %"]]


def test_facts_are_read_from_the_files_of_a_run(tmp_path):
    def write(name, frame, metadata):
        write_table(tmp_path / name, pa.Table.from_pandas(frame, preserve_index=False), metadata)
        return tmp_path / name

    told = facts(rows(CNN, {0.01: 0.998, 1: 0.71}))
    paths = [
        write("summary.parquet", told.summary, {"uncertainty": {"level": 0.9}}),
        write("models.parquet", told.models, {}),
        write("test.parquet", pd.DataFrame({"target": [0]}), {"feature_shape": [1, 8, 8], "classes": ["a", "b"]}),
    ]
    read = read_facts(paths[0], paths[1], {"digits": paths[2]}, REFERENCES)
    assert read.level == 0.9
    assert "Digits: images of 1 × 8 × 8 in 2 classes, 450 test rows, up to 50 of them attributed." in text(read)


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
