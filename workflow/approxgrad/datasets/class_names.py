"""The classes of data whose models may know more of them than the data hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

from approxgrad.datasets.faults import DatasetError, listed, unique_faults
from approxgrad.descriptions import Text, option
from approxgrad.messages import one_line

ClassNames = Annotated[
    tuple[Annotated[Text, option("", min_length=1)], ...] | None,
    option(
        "Names of all classes in the order of the model's outputs, for a model that knows more classes than the data"
        " hold or another order; by default those of the data, in sorted order.",
        min_length=2,
    ),
]


def class_faults(classes: Sequence[str] | None) -> list[str]:
    """Return the names that are there twice."""
    return unique_faults("classes", classes or ())


def arranged(found: Sequence[str], classes: Sequence[str] | None) -> list[str]:
    """Return the names of all classes in the order of their numbers.

    These are the `classes` that a user names, or those found in the data. A DatasetError says which of the data is not
    among them.
    """
    for name in found:
        if classes is not None and name not in classes:
            raise DatasetError(f"classes: the data have {one_line(name)}, expected one of {listed(classes)}")
    return list(found if classes is None else classes)


def check_outputs(outputs: int | None, classes: Collection[str]) -> None:
    """Refuse a model with more `outputs` than classes whose names do not say to which output they belong.

    Numbers from 0 on do say it. Without this check, output 0 of a model of a thousand classes would be taken for the
    first folder of a few.
    """
    if outputs and 1 < len(classes) < outputs and list(classes) != list(map(str, range(len(classes)))):
        raise DatasetError(
            f"outputs: got {outputs:,}, and {len(classes)} classes in the data ({listed(classes)}), which need not be "
            "the first ones; name all classes in the order of the outputs as `classes` of the data set"
        )
