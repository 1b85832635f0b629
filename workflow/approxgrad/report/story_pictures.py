"""The figures of a study from which its story takes pictures; Snakemake imports this module whenever it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from approxgrad.figures.figure import FIGURES

if TYPE_CHECKING:
    from approxgrad.study.study import Study

ENDING = ".svg"

CAPTIONS = {
    "anatomy": "Error over the setting, for the {model} on {dataset}: rounding to the left, truncation to the right.",
    "maps": "Attributions of the {model} on {dataset}: the reference, the approximation, and their difference.",
    "truth": "Correlation with the true effects, for {method} of the {model} on {dataset}: exact, and at each setting.",
}
"""What a picture of each figure shows."""


def story_pictures(study: Study) -> dict[str, tuple[str, ...]]:
    """Return the figure and the names of the keys of every picture that a story may show, by its file."""
    return {
        path: (figure, *(part.partition("=")[2] for part in path.split("/") if "=" in part))
        for figure in CAPTIONS
        for path in FIGURES[figure]().files(study)
        if path.endswith(ENDING)
    }
