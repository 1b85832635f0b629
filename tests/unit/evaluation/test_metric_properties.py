"""Properties of the measures of agreement and of their summaries, for random maps of any magnitude."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from approxgrad.evaluation.frames import KEYS
from approxgrad.evaluation.metric_tables import summarise
from approxgrad.evaluation.metrics import METRICS, compare
from approxgrad.evaluation.paired import compare_sources
from approxgrad.evaluation.uncertainty import FEWEST, Bootstrap, intervals
from figure_data import described

EPS = np.finfo(float).eps
CORRELATIONS = ["pearson", "spearman", "cosine"]
SYMMETRIC = [*CORRELATIONS, "mean_squared_error", "sign_agreement", "top_overlap"]
# The squares of the smallest and of the largest leave the range of float64, their ratio does not.
MAGNITUDES = st.sampled_from([1e-170, 1e-30, 1e-3, 1.0, 1e30, 1e120])


@st.composite
def maps(draw):
    """Two maps of every kind: with ties, zeros of both signs, constant rows, and of magnitudes of their own."""
    rows, features = draw(st.integers(1, 3)), draw(st.integers(1, 25))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smallest, largest = float(np.finfo(dtype).tiny), 1e-6 * float(np.finfo(dtype).max)
    result = []
    for _ in range(2):
        kind = draw(st.sampled_from(["normal", "integers", "sparse", "constant", "offset"]))
        values = generator.normal(size=(rows, features))
        if kind == "integers":
            values = np.rint(values)
        elif kind == "sparse":
            values *= generator.random(values.shape) < 0.3  # leaves zeros of both signs
        elif kind == "constant":
            values[0] = values[0, 0]
        elif kind == "offset":
            values += 1000
        scale = draw(MAGNITUDES)
        result.append((values * scale if smallest < scale < largest else values).astype(dtype))
    return result[0], draw(st.sampled_from([result[1], result[0].copy(), -result[0]]))


def exact_rows(values):
    return [[Fraction(float(x)) for x in row] for row in values]


def root(square):
    """The square root of a fraction that itself may be far outside of what a float holds."""
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(square / Fraction(4) ** half), half)


def centred(row):
    mean = sum(row) / len(row)
    return [x - mean for x in row]


def cosine_of(a, r):
    product, squares = sum(x * y for x, y in zip(a, r, strict=True)), sum(x * x for x in a) * sum(y * y for y in r)
    return math.copysign(root(product * product / squares), product) if squares else math.nan


def pearson_of(a, r):
    return cosine_of(centred(a), centred(r))


def ranked(row):
    return [Fraction(float(rank)) for rank in stats.rankdata([float(x) for x in row])]


def top_of(row):
    """The share of the random orders of equal values that puts each value among the largest tenth; zero never is."""
    sizes, count = [abs(x) for x in row], -(-len(row) // 10)
    shares = []
    for size in sizes:
        larger, equal = sum(other > size for other in sizes), sizes.count(size)
        shares.append(Fraction(min(max(count - larger, 0), equal), equal) if size else Fraction(0))
    return shares


def sign(x):
    return (x > 0) - (x < 0)


def overlap_of(a, r):
    if len({abs(x) for x in a}) == 1 or len({abs(x) for x in r}) == 1:
        return math.nan
    p, q = top_of(a), top_of(r)
    return 2 * sum(map(min, p, q)) / (sum(p) + sum(q))


def scale_free_of(a, r):
    """The sine of the angle, from the exact difference of squares."""
    product, squares = sum(x * y for x, y in zip(a, r, strict=True)), sum(x * x for x in a) * sum(y * y for y in r)
    return root(1 - product * product / squares) if squares else math.nan


def factor_of(a, r):
    square = sum(x * x for x in a)
    return float(sum(x * y for x, y in zip(a, r, strict=True)) / square) if square and any(r) else math.nan


def relative_error_of(a, r):
    reference = sum(y * y for y in r)
    return root(sum((x - y) ** 2 for x, y in zip(a, r, strict=True)) / reference) if reference else math.nan


EXACT = {
    "pearson": pearson_of,
    "spearman": lambda a, r: pearson_of(ranked(a), ranked(r)),
    "cosine": cosine_of,
    "mean_squared_error": lambda a, r: sum((x - y) ** 2 for x, y in zip(a, r, strict=True)) / len(a),
    "relative_error": relative_error_of,
    "scale_free_error": scale_free_of,
    "best_factor": factor_of,
    "sign_agreement": lambda a, r: sum(sign(x) == sign(y) for x, y in zip(a, r, strict=True)) / len(a),
    "top_overlap": overlap_of,
}


def centring_error(row):
    """By how much the mean of a row may be off, over the norm of what is left of the row without it."""
    norm = root(sum(x * x for x in centred(row)) / max(x * x for x in row)) if any(row) else 0
    return (len(row) + 2) * math.sqrt(len(row)) / norm if norm else 0.0


def tolerance(name, a, r, expected):
    """Bound the rounding of a measure: sums of d terms, each rounded a few times, and for correlations their means."""
    terms = 2 * (len(a) + 8) * EPS
    if name in ("mean_squared_error", "relative_error"):
        return terms * expected
    if name == "best_factor":
        # Relative to the sizes of the maps, as their product may cancel.
        return terms * root(sum(y * y for y in r) / sum(x * x for x in a))
    if name == "pearson":
        return terms + 4 * EPS * (centring_error(a) + centring_error(r))
    return terms if name in ("spearman", "cosine", "scale_free_error") else 2 * EPS


@given(maps())
def test_every_measure_is_what_fractions_say(pair):
    found = compare(*pair)
    for row, (a, r) in enumerate(zip(*map(exact_rows, pair), strict=True)):
        for name, function in EXACT.items():
            value, expected = found[name][row], function(a, r)
            expected = float(expected)
            assert math.isnan(value) == math.isnan(expected), name
            if not math.isnan(value):
                assert abs(value - expected) <= tolerance(name, a, r, expected) + 5e-324, (name, value, expected)
                assert METRICS[name].lower <= value <= METRICS[name].upper


@given(maps())
def test_rows_do_not_touch_each_other(pair):
    whole = compare(*pair)
    for row in range(len(pair[0])):
        for name, values in compare(*(values[row : row + 1] for values in pair)).items():
            np.testing.assert_array_equal(values, whole[name][row : row + 1])


@given(maps(), st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_the_features(pair, random):
    order = random.sample(range(pair[0].shape[1]), pair[0].shape[1])
    plain, mixed = compare(*pair), compare(*(values[:, order] for values in pair))
    np.testing.assert_array_equal(mixed["top_overlap"], plain["top_overlap"])
    np.testing.assert_array_equal(mixed["sign_agreement"], plain["sign_agreement"])
    np.testing.assert_allclose(mixed["spearman"], plain["spearman"], rtol=0, atol=50 * EPS)


@given(maps())
def test_a_map_overlaps_with_itself_entirely_or_not_at_all_where_it_has_no_top(pair):
    own = compare(pair[0], pair[0])["top_overlap"]
    np.testing.assert_array_equal(own, np.where(np.ptp(np.abs(pair[0]), axis=1) == 0, np.nan, 1.0))


@given(maps(), st.integers(-60, 60), st.integers(-60, 60))
def test_scales_and_roles_of_the_maps(pair, up, down):
    # Multiplying with a power of two is exact, so results are equal bit for bit.
    a, r = (values.astype(float) for values in pair)
    assume(max(np.abs(a).max(), np.abs(r).max()) < 1e100)
    assume(all(np.abs(values[values != 0]).min(initial=1) > 1e-100 for values in (a, r)))
    plain, swapped = compare(a, r), compare(r, a)
    own, both = compare(2.0**up * a, 2.0**down * r), compare(2.0**up * a, 2.0**up * r)
    for name in (*CORRELATIONS, "sign_agreement", "top_overlap"):
        np.testing.assert_array_equal(own[name], plain[name])
    np.testing.assert_array_equal(both["relative_error"], plain["relative_error"])
    np.testing.assert_array_equal(both["mean_squared_error"], 4.0**up * plain["mean_squared_error"])
    for name in SYMMETRIC:
        np.testing.assert_array_equal(swapped[name], plain[name])


@given(maps())
def test_negative_maps_correlate_negatively(pair):
    a, r = pair
    plain, negative = compare(a, r), compare(-a, r)
    for name in ("pearson", "cosine"):
        np.testing.assert_array_equal(negative[name], -plain[name])
    np.testing.assert_array_equal(compare(-a, -r)["sign_agreement"], plain["sign_agreement"])


# Summaries


COLUMNS = st.lists(
    hnp.arrays(float, st.integers(0, 12), elements=st.sampled_from([math.nan, 0.0, 1.0, -1.0, 0.25, 3.5, -7.0, 1e-3])),
    min_size=1,
    max_size=4,
)
FEW = Bootstrap(0, resamples=60)


@given(COLUMNS, st.sampled_from([-660, -400, -200, -100, 0, 100, 200, 330]), st.randoms(use_true_random=False))
def test_intervals_hold_at_every_magnitude_and_in_every_order(columns, exponent, random):
    scale, plain = 2.0**exponent, intervals(columns, FEW)  # by a power of two, which is exact
    scaled = [scale * np.array(random.sample(list(column), len(column))) for column in columns]
    pd.testing.assert_frame_equal(intervals(scaled, FEW), scale * plain, rtol=0, atol=0)
    for column, row in zip(columns, plain.to_dict("records"), strict=True):
        values = column[~np.isnan(column)]
        ends = {name for name in row if name.endswith(("low", "high"))}
        unknown = set(row) if not len(values) else ends if len(values) < FEWEST else set()
        assert {name for name, value in row.items() if math.isnan(value)} == unknown
        if len(values):
            rounding = len(values) * EPS * np.abs(values).max()
            assert abs(row["mean"] - values.mean()) <= rounding
            assert abs(row["median"] - np.median(values)) <= rounding
            assert all(values.min() <= value <= values.max() for value in row.values() if not math.isnan(value))


@st.composite
def metric_tables(draw):
    """Measures of two steps and the exact gradient on samples of their own, some of them undefined."""
    generator, parts = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), []
    for source in (("forward", 0.1), ("forward", 1.0), ("exact",)):
        sample = generator.permutation(8)[: draw(st.integers(1, 8))]
        values = {name: generator.choice([0.5, 0.25, np.nan, 1.0], len(sample)) for name in METRICS}
        keys = {"dataset": "d", "model": "m", "method": "a", **described(*source)}
        parts.append(pd.DataFrame({**keys, "reference": "truth", "sample": sample, **values}))
    return pd.concat(parts, ignore_index=True).astype({"setting": float})


@given(metric_tables())
def test_summaries_are_those_of_every_group_by_itself(table):
    rows = summarise(table, FEW)
    unsigned = sum(table.loc[table["family"] == name, "sign_agreement"].isna().all() for name in ("exact",))
    unsigned += sum(own["sign_agreement"].isna().all() for _, own in table.dropna(subset="setting").groupby("setting"))
    assert len(rows) == 3 * len(METRICS) - unsigned
    for row in rows.to_dict("records"):
        column = table.loc[table["gradient"] == row["gradient"], row["metric"]]
        values = column.dropna().to_numpy()
        assert (row["n"], row["undefined"]) == (len(values), len(column) - len(values))
        expected = [math.nan] * 5
        if len(values):
            expected = [values.mean(), values.std(), *np.quantile(values, [0.25, 0.5, 0.75])]
        found = [row[name] for name in ("mean", "std", "lower_quartile", "median", "upper_quartile")]
        np.testing.assert_allclose(found, expected, rtol=0, atol=20 * EPS)
        if len(values):
            far = np.abs(values - METRICS[row["metric"]].best)
            assert far.max() == abs(row["worst"] - METRICS[row["metric"]].best)
            own = table.loc[(table["gradient"] == row["gradient"]) & (table["sample"] == row["worst_sample"])]
            assert own[row["metric"]].tolist() == [row["worst"]]
            assert abs(abs(row["tail"] - METRICS[row["metric"]].best) - np.quantile(far, 0.95)) <= 20 * EPS
        else:
            assert math.isnan(row["tail"])
            assert math.isnan(row["worst"])
    assert not rows.duplicated([*KEYS, "metric"]).any()


@given(metric_tables(), st.randoms(use_true_random=False))
def test_pairs_are_counted_sample_by_sample(table, random):
    found = compare_sources(table, FEW)
    order = random.sample(range(len(table)), len(table))
    pairs = {("forward-h0.1", "forward-h1"), ("forward-h0.1", "exact"), ("forward-h1", "exact")}
    assert set(zip(found["first"], found["second"], strict=True)) <= pairs
    for row in found.to_dict("records"):
        first, second = (
            table[table["gradient"] == row[name]].set_index("sample")[row["metric"]] for name in ("first", "second")
        )
        both = first.index.intersection(second.index)
        values = pd.DataFrame({"first": first[both], "second": second[both]}).dropna()
        distances = (values - METRICS[row["metric"]].best).abs()
        better, worse = ((distances["first"] - distances["second"]) * sign > 0 for sign in (-1, 1))
        assert (row["n"], row["undefined"]) == (len(values), len(both) - len(values))
        if not len(values):
            assert all(math.isnan(row[name]) for name in ("first_better", "equal", "p_value", "median_difference"))
            continue
        assert row["median_difference"] == (values["first"] - values["second"]).median()
        assert abs(row["first_better"] - better.mean()) <= EPS
        decided = int((better | worse).sum())
        expected = stats.binomtest(int(better.sum()), decided).pvalue if decided else 1
        np.testing.assert_allclose(row["p_value"], expected, rtol=1e-12)
        assert row["p_value"] <= row["p_adjusted"] <= 1
    pd.testing.assert_frame_equal(
        compare_sources(table.iloc[order], FEW).sort_values(["first", "second", "metric"], ignore_index=True),
        found.sort_values(["first", "second", "metric"], ignore_index=True),
    )
