import math

import pytest

from approxgrad.gradients.stencils import SCHEMES, stencil

EVALUATIONS = {"forward": lambda d: d + 1, "backward": lambda d: d + 1, "central": lambda d: 2 * d}


def moment(scheme: str, power: int) -> float:
    own = SCHEMES[scheme]
    return math.fsum(c * o**power for o, c in zip(own.offsets, own.coefficients, strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_moments_hold_up_to_the_order_and_not_beyond(scheme):
    # Taylor: sum_k c_k f(x + o_k h) / h = sum_m f^(m) h^(m-1) / m! * (sum_k c_k o_k^m); dyadic numbers, so exact.
    order = stencil(scheme).order
    assert moment(scheme, 0) == 0
    assert moment(scheme, 1) == 1
    assert all(moment(scheme, power) == 0 for power in range(2, order + 1))
    assert moment(scheme, order + 1) != 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("features", [1, 7, 3072])
def test_evaluations_share_the_base(scheme, features):
    assert stencil(scheme).evaluations(features) == EVALUATIONS[scheme](features)


def test_shifts_leave_out_the_base():
    assert {name: (own.uses_base, own.shifts) for name, own in SCHEMES.items()} == {
        "forward": (True, (1,)),
        "backward": (True, (-1,)),
        "central": (False, (-1, 1)),
    }


def test_an_unknown_scheme_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"scheme: got 'upwind', expected one of forward, backward, central"):
        stencil("upwind")
