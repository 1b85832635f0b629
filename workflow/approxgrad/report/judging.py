"""The parts of a story that judge: approximations by the truth, and variants by what they are compared with."""

from __future__ import annotations

from collections import Counter

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.report import wording
from approxgrad.report.findings import Curve, Facts
from approxgrad.report.pages import Table

WHO = ["data set", "model", "method", "gradient"]
VERDICTS = ("better", "worse", "alike", "open")


def who(facts: Facts, curve: Curve) -> list[str]:
    """Return the cells of a table that say what a curve is of."""
    names = [facts.labels[key][getattr(curve, key)] for key in ("dataset", "model", "method")]
    return [*names, str(curve.look["label"])]


def _judged(facts: Facts, truth: str) -> list[tuple[Curve, Counter[str]]]:
    """Return the curves of agreement with a truth, with the verdicts on their settings beside the exact gradient."""
    verdicts = facts.verdicts("pearson", truth)
    found = []
    for curve in facts.curves("pearson", truth):
        own = [verdicts[key] for name in curve.gradients if (key := (*curve.key[:3], name)) in verdicts]
        if own:
            found.append((curve, Counter(own)))
    return found


def truth_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return a point for each truth: how often approximations agree with it better or worse than exact gradients.

    Attributions of a model that has not learned the effects are not judged by them.
    """
    points = []
    for truth, words in TRUTHS.items():
        every = [(curve.dataset, curve.model, own) for curve, own in _judged(facts, truth)]
        counts = sum((own for *names, own in every if facts.explains(*names)), Counter[str]())
        left_out = sum(own.total() for *_, own in every) - counts.total()
        if not counts.total():
            continue
        text = (
            f"compared row by row, approximated attributions correlate better with {words} than exact ones in "
            f"{wording.share_of(counts['better'], counts.total(), 'comparison')} and worse in {counts['worse']:,} "
            "(adjusted sign tests)."
        )
        if counts["alike"] or counts["open"]:
            text += f" {counts['alike']:,} are alike within {wording.number(facts.smallest)}, {counts['open']:,} open."
        if left_out:
            text += f" {left_out:,} more of models that have not learned these effects are not counted."
        points.append((f"{words[:1].upper()}{words[1:]}:", text))
    return points


def truth_table(facts: Facts) -> Table:
    """Return the agreement with each truth, of exact and of approximated gradients."""
    rows = []
    for truth, words in TRUTHS.items():
        exact, judged = facts.exact_medians("pearson", truth), dict(_keyed(facts, truth))
        for curve in facts.curves("pearson", truth):
            if curve.key[:3] not in exact:
                continue
            counts = judged.get(curve.key, Counter())
            best = f"{wording.correlation(curve.medians[curve.best].value)} ({curve.named(curve.best)})"
            told = [str(counts[verdict]) if counts.total() else "" for verdict in VERDICTS]
            rows.append([*who(facts, curve), words, wording.correlation(exact[curve.key[:3]]), best, *told])
    caption = (
        "The median correlation with the true effects as they are, and with the matched truth of the method: with "
        "exact gradients, and with the best of the settings tried. Then, row by row, at how many settings the "
        "approximated attribution is better or worse than the exact one (sign test, adjusted, and a median difference "
        f"of at least {wording.number(facts.smallest)}), alike (the whole interval is below that), or neither is known."
    )
    return Table(caption, [*WHO, "compared with", "exact", "best tried", *VERDICTS], rows)


def _keyed(facts: Facts, truth: str) -> list[tuple[tuple[str, str, str, str], Counter[str]]]:
    return [(curve.key, counts) for curve, counts in _judged(facts, truth)]


def _pairs(facts: Facts, metric: str) -> dict[tuple[str, str, str, str], tuple[Curve, Curve]]:
    """Return the curves of variants and of the methods that they are compared with, by the key of the variant."""
    found = {curve.key: curve for curve in facts.curves(metric)}
    keys = {key: (*key[:2], facts.references.get(key[2], ""), key[3]) for key in found}
    return {key: (found[key], found[other]) for key, other in keys.items() if other in found}


def variants_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return a point for the variant that a constant factor brings nearest to what it is compared with."""
    errors, patterns, factors = (_pairs(facts, name) for name in ("relative_error", "scale_free_error", "best_factor"))
    known = [key for key in errors if key in patterns and key in factors and errors[key][0].medians[0].value > 0]
    if not known:
        return []

    def gain(key: tuple[str, str, str, str]) -> float:
        return errors[key][0].medians[0].value - patterns[key][0].medians[0].value

    key = max(known, key=gain)
    (curve, method), (factor, _) = errors[key], factors[key]
    found = [own for pair in zip(errors[key], patterns[key], strict=True) for own in pair]
    error, left, *own = (wording.percent(curve.medians[0].value) for curve in found)
    share = gain(key) / errors[key][0].medians[0].value
    text = (
        f"at {curve.at(0)} the median relative error of {facts.who(curve)} is {error}. "
        f"{'Most' if share > 0.5 else 'Less than half'} of it is size: after multiplication by the best factor "
        f"({wording.number(factor.medians[0].value)} in the median) {left} is left. For "
        f"{facts.labels['method'][method.method]} itself these are {own[0]} and {own[1]}."
    )
    return [("Size and pattern are two things:", text)]


def variants_table(facts: Facts) -> Table:
    """Return the errors of variants with and without the best factor, beside those of the methods themselves."""
    errors, patterns, factors = (_pairs(facts, name) for name in ("relative_error", "scale_free_error", "best_factor"))
    rows = []
    for key, (variant, method) in errors.items():
        for setting in variant.settings:
            row = [*who(facts, variant), variant.at(variant.settings.index(setting))]
            for curve in (
                *(variant, patterns.get(key, (None, None))[0], factors.get(key, (None, None))[0]),
                *(method, patterns.get(key, (None, None))[1]),
            ):
                known = curve is not None and setting in curve.settings
                value = curve.medians[curve.settings.index(setting)].value if curve is not None and known else None
                tell = wording.number if curve is not None and curve.metric == "best_factor" else wording.percent
                row.append("" if value is None else tell(value))
            rows.append(row)
    caption = (
        "Medians over the rows. The scale-free error is what is left of the relative error when the map is multiplied "
        "by its best factor. It says how wrong the pattern is, whatever the size."
    )
    header = ["setting", "relative error", "scale-free error", "best factor", "method itself", "its scale-free error"]
    return Table(caption, [*WHO, *header], rows)
