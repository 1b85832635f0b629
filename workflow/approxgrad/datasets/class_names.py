"""The classes of data whose models may know more of them than the data hold."""

from __future__ import annotations

import unicodedata
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

    These are the `classes` that a user names, or those found in the data. Accents may be coded in two ways: the names
    of classes in the data stay as they are there. A DatasetError says which of the data is not named.
    """
    if classes is None:
        return list(found)
    there = {unicodedata.normalize("NFC", name): name for name in found}
    named = [there.get(unicodedata.normalize("NFC", name), name) for name in classes]
    for name in found:
        if name not in named:
            raise DatasetError(f"classes: the data have {one_line(name)}, expected one of {listed(classes)}")
    return named


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
