"""Numbers as they stand in sentences."""

import pytest

from approxgrad.report import wording


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "0.500"), (0.9994, "0.9994"), (0.999996, "0.999996"), (1 - 1e-8, "more than 0.999999"), (-0.2, "−0.200")],
)
def test_correlations_near_one_are_told_apart(value, expected):
    assert wording.correlation(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        *((0, "0 %"), (0.2504, "25 %"), (0.0996, "10 %"), (0.0005, "0.050 %"), (0.00032, "0.032 %")),
        *((1.25, "125 %"), (431.2, "43,120 %"), (-4e-17, "−4.0e−15 %")),
    ],
)
def test_no_share_but_zero_is_told_as_zero(share, expected):
    assert wording.percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.01234, "0.0123"), (-3.14159, "−3.14"), (123456, "123,456"), (1.5e-7, "1.50e−7"), (2.5e9, "2.50e9")],
)
def test_numbers_have_three_significant_digits(value, expected):
    assert wording.number(value) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.5, 0.25), ["0.500", "0.250"]),
        ((0.9994, 0.5), ["0.9994", "0.5000"]),
        ((1 - 1e-8, -0.5), ["more than 0.999999", "−0.500000"]),
        ((1, 0.5), ["1.000", "0.500"]),
    ],
)
def test_correlations_of_one_sentence_have_one_precision(values, expected):
    assert wording.correlations(*values) == expected


def test_a_span_of_equal_ends_is_one():
    assert wording.span("1 %", "2 %") == "1 % to 2 %"
    assert wording.span("1 %", "1 %") == "1 %"
