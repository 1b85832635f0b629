"""What a story says of truths, variants, faithfulness and other trainings, where medians alone would mislead."""

import pandas as pd

from approxgrad.report.story import start
from story_tables import CNN, IG, MLP, OTHER, facts, rows, table, text

TITLE = "The truth, where it is known"


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
    said = text(told, start)
    assert (
        "at h = 0.1 the median relative error of Integrated Gradients (published variant) of the CNN on digits is "
        "50 %. Most of it is size: after multiplication by the best factor (1.97 in the median) 7.5 % is left. For "
        "Integrated Gradients itself these are 1.0 % and 0.90 %."
    ) in said
    title = "Variants beside what they are compared with"
    assert [list(row.values())[4:] for row in table(told, title)] == [
        [setting, "50 %", "7.5 %", "1.97", "1.0 %", "0.90 %"] for setting in ("h = 0.1", "h = 1")
    ]
    # Such a method is not among those whose best settings are counted.
    alone = facts(*variant(0.5, 0.075, 1.97)[:3])
    assert "Size and pattern" not in text(alone, start)
    assert "Where the best setting lies" not in text(alone, start)


def test_a_variant_whose_pattern_is_wrong_is_not_said_to_be_off_by_a_factor():
    said = text(facts(*variant(0.5, 0.4, 1.1)), start)
    assert "Less than half of it is size: after multiplication by the best factor (1.10 in the median) 40 % is" in said
    assert "Size and pattern" not in text(facts(*variant(0.0, 0.0, 1.0)), start)


def verdicts(summary, *found, reference="truth"):
    keys = dict(zip(("dataset", "model", "method"), MLP, strict=True))
    keys |= {"reference": reference, "metric": "pearson", "differ": "exact", "second": "exact"}
    return pd.DataFrame({"first": [*summary["gradient"][1:], "forward-h0.1-float64"], "verdict": found}).assign(**keys)


def test_the_truth_is_judged_row_by_row_and_not_by_two_medians():
    """All medians are above that of the exact gradient; by rows one source is worse and none better."""
    summary = rows(MLP, {None: 0.8, 0.1: 0.85, 1: 0.81, 2: 0.82}, reference="truth")
    told = facts(summary, paired=verdicts(summary, "open", "worse", "alike", "better"), smallest=0.01)
    assert (
        "The true effects: compared row by row, approximated attributions correlate better with the true effects than "
        "exact ones in none of 3 comparisons and worse in 1 (adjusted sign tests). 1 are alike within 0.0100, 1 open."
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
    assert "with the true effects than exact ones in the only comparison and worse in 0 (adjusted sign tests)." in said
    assert "with the matched truth than exact ones in none of 1 comparison and worse in 1 (adjusted" in said


def test_a_model_that_has_not_learned_the_effects_is_not_judged_by_them():
    summary = rows(MLP, {None: 0.8, 0.1: 0.85}, reference="truth")
    models = [("synthetic_linear", "mlp", "r2", 0.38, 300), ("synthetic_linear", "mlp", "possible_r2", 0.975, 300)]
    pairs = verdicts(summary, "better", "open")
    assert "The true effects" not in text(facts(summary, paired=pairs, models=models), start)
    other = ("digits", "cnn", "saliency")
    both = pd.concat([pairs, pairs.assign(dataset="digits", model="cnn", verdict="worse")])
    told = text(
        facts(summary, rows(other, {None: 0.8, 0.1: 0.85}, reference="truth"), paired=both, models=models), start
    )
    assert "in none of 1 comparison and worse in 1" in told
    assert "1 more of models that have not learned these effects are not counted." in told


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
    said = text(told, start)
    assert "the maps of 1 of 2 sources are less faithful to the model than those of the reference (adjusted" in said
    few = facts(rows(CNN, {0.1: 0.9}), faithfulness=pd.DataFrame(asked).assign(**keys, n=3))
    assert "less faithful" not in text(few)
    assert "for which no loss is shown is 19 % (Saliency of the CNN on digits, forward-h0.1)." in said
    first, second = table(told, "Faithfulness")
    assert (first["source"], first["deletion"]) == ("forward-h0.1", "−0.0100 (open)")
    assert not {"infidelity", "sensitivity"} & first.keys()
    assert second["insertion"] == "−0.400 (worse)"
    assert "moves a little" not in said


def test_maps_that_move_more_with_the_input_are_not_told_as_less_faithful():
    keys = dict(zip(("dataset", "model", "method"), CNN, strict=True)) | {"dtype": "float32", "n": 20}
    asked = [
        {
            "gradient": f"forward-h{error:g}",
            "measure": measure,
            "relative_error": error,
            "gain": gain,
            "verdict": verdict,
        }
        for error in (0.1, 1)
        for measure, gain, verdict in (
            ("deletion", 0.0, "open"),
            ("sensitivity", -0.2, "worse" if error == 1 else "open"),
        )
    ]
    told = facts(rows(CNN, {0.1: 0.9, 1: 0.5}), faithfulness=pd.DataFrame(asked).assign(**keys))
    said = text(told, start)
    assert "the maps of none of 2 sources are less faithful" in said
    assert "the maps of 1 of 2 sources change by a larger share of themselves than those of the reference." in said
    assert [row["sensitivity"] for row in table(told, "Faithfulness")] == ["−0.200 (open)", "−0.200 (worse)"]
