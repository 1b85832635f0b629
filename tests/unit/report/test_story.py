import base64
import math
import re

import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.report.findings import read_facts
from approxgrad.report.pages import Picture, Section, Table, page, sections_html
from approxgrad.report.story import MOST_BYTES, start, tell
from approxgrad.storage.tables import write_table
from story_tables import CNN, IG, LABELS, MLP, REFERENCES, facts, rows, table, text


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
        "relative error": "25 %",
        "95 % below": "60 %",
        "worst row": "125 %",
        "quadrature": "",
        "correlation": "0.800 (0.600 to 0.950)",
        "error at smallest": "30 % (h = 0.01)",
        "error at largest": "50 % (h = 1)",
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
        "differences, central differences and random directions."
    ) in text(told, start)


def test_a_source_with_a_comma_in_its_label_is_one_of_a_list():
    found = [rows(CNN, {0.1: 0.3}, metric="relative_error", family=family) for family in ("central", "spreads")]
    assert "with central differences and central differences (steps in spreads)." in text(facts(*found), start)


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
    assert f"with forward differences and {label}." in found
    assert "The reference of" not in found
    assert "nan" not in text(told).lower().split()


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
    assert expected in told


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
    assert "rounding is the larger part of the error up to h = 0.0001 and truncation from h = 1." in words
    large = pd.DataFrame(parts)[lambda table: table["setting"] == 1]
    only = text(facts(rows(CNN, {0.0001: 0.998, 1: 0.71}), parts=large))
    assert "float32, truncation from h = 1." in only
    (row,) = table(told, "Rounding and truncation, measured")
    *_, last, largest, first, other = row.values()
    assert (last, largest, first, other) == ("h = 0.0001", "50 %", "h = 1", "20 %")
    assert "Rounding and truncation" not in text(facts(rows(CNN, {0.1: 0.9, 1: 0.7})))


def _shown(told, title):
    return next(section.picture for section in start(told) if section.title == title)


def test_the_story_has_the_pictures_of_what_its_sentences_tell(tmp_path):
    changed, other = rows(MLP, {0.1: 0.8, 1: 0.3}), rows(CNN, {0.1: 0.95, 1: 0.9})
    drawn = {}
    for names in (("anatomy", *CNN[:2]), ("anatomy", *MLP[:2]), ("maps", *CNN[:2]), ("truth", *IG), ("truth", *MLP)):
        drawn[names] = tmp_path / f"{len(drawn)}.svg"
        drawn[names].write_text(f"<svg>{names}</svg>")
    truth = rows(MLP, {None: 0.8, 0.1: 0.85}, reference="truth")
    told = facts(other, changed, truth, pictures=drawn)
    shown = {section.title: section.picture for section in start(told) if section.picture}
    assert [picture.path for picture in shown.values()] == [
        drawn["anatomy", *MLP[:2]],
        drawn["maps", *CNN[:2]],  # The nearest there is: the model of tables has no maps.
        drawn["truth", *MLP],
    ]
    assert "for the MLP on synthetic linear" in shown["How near approximations come"].caption
    html = sections_html([Section("A", ["b"], picture=Picture(drawn["truth", *MLP], 'a "caption" of <b>'))])
    assert 'alt="a &quot;caption&quot; of &lt;b&gt;"' in html
    data = re.search('src="data:image/svg[+]xml;base64,([^"]*)"', html)[1]
    assert base64.b64decode(data).decode() == drawn["truth", *MLP].read_text()
    # A large drawing gives way to its pixels.
    drawn["anatomy", *MLP[:2]].write_bytes(b" " * (MOST_BYTES + 1))
    assert _shown(told, "How near approximations come") is None
    drawn["anatomy", *MLP[:2]].with_suffix(".png").write_bytes(b"pixels")
    assert _shown(told, "How near approximations come").path.suffix == ".png"
    # A picture without a sentence is none of a story.
    assert sections_html([Section("A", picture=Picture(tmp_path / "none.svg", ""))]) == ""


def test_the_story_itself_is_short_and_its_tables_are_folded():
    every = [rows(CNN, {0.1: 0.95, 1: 0.9}), rows(CNN, {0.1: 0.05, 1: 0.2}, metric="relative_error", tail=0.3, worst=2)]
    told = facts(*every)
    sentences = [
        sentence
        for section in start(told)
        if section.title not in ("The question", "Data and models")
        for _, point in section.points
        for sentence in re.findall(r"[.](?= |$)", point)
    ]
    assert 4 <= len(sentences) <= 12
    html = sections_html(tell(told))
    assert html.count("<details>") == html.count("<table>") == 1
    assert "<summary>Agreement with the reference (1 row)</summary>" in html
