"""Write found.md and its figures from the tables in found/, which ``python -m bench.found`` measured."""

from __future__ import annotations

from pathlib import Path

from found_claims import NETWORKS, Claim, Tables, faithful_claims, path_claims, step_claims, truth_claims
from found_figures import draw_all

PAGE = Path(__file__).with_suffix(".md")

OPENING = """# What we found

<!-- made by: python docs/found.py -->

The thesis that this project continues compared attributions from exact gradients with those from forward differences.
Here are its claims, one by one, tried on real images and on its own table. Each verdict follows from the intervals
beside it by a rule in `docs/found_claims.py`.
"""

GROUPS = (
    (
        "The step",
        step_claims,
        "steps",
        "Error and correlation of Saliency and Gradient x Input over the step: medians, bands between the quartiles",
        "Between rounding and kinks there is a range of good steps; its lower end belongs to the arithmetic, not to "
        "the method.",
    ),
    (
        "Integrated Gradients",
        path_claims,
        "paths",
        "Error of both formulas over the step: medians, bands between the quartiles",
        "The published formula scales the step along the path, so its limit is another quantity "
        "([methods](methods.md)).",
    ),
    (
        "Agreement with the truth",
        truth_claims,
        "truth",
        "Gain in the mean correlation with the true effects over exact gradients, with 95 % intervals over 300 rows; "
        "one line is one training",
        "Rows of one network are not networks: intervals over rows say nothing of the next training.",
    ),
    (
        "Faithfulness",
        faithful_claims,
        "faithfulness",
        "Areas under deletion and insertion curves: medians with 95 % intervals",
        "The thesis did not ask whether a map that differs explains worse. The change is by how much deletion and "
        "insertion together are better than for the exact map, in units of its lead over a random order.",
    ),
)


def table(claims: list[Claim]) -> str:
    """Return claims as a table in Markdown."""
    lines = ["| claim | verdict | numbers |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {own.claim} | **{own.verdict}** | {own.numbers} |" for own in claims)])


def origin(tables: Tables) -> str:
    """Return what the numbers come from."""
    counts = "; ".join(
        f"{label} {tables.count(name, 'gradients')} for gradients, {tables.count(name, 'paths')} for paths"
        for name, label in NETWORKS.items()
    )
    about = tables.about
    files = {"cnn": "weights of the CNN", "resnet18": "weights of the ResNet-18", "images": "drawn images and classes"}
    files |= {name: f"`{name}`" for name in about if "." in name}
    digests = "\n".join(f"| {words} | `{about[name]}` |" for name, words in files.items())
    return f"""## Where the numbers come from

CIFAR-10 test images (JPEG, normalised as in the thesis) in a random order, seed {about["seed"]}. Number of images:
{counts}. What is explained is the output of the true class. The CNN and the
ResNet-18 are those of the thesis, trained again, its own weights being lost. Integrated Gradients have 50 points and
start at 0, the mean colour; they are compared on {about["features"]} features drawn for each image. Dense evaluations
are in float32, as in the thesis; CNN differences at h = 0.1 and above are propagated, which changes a map by less than
a thousandth there. Intervals are bootstrap intervals of 95 %, of medians over images or means over rows; differences
are taken image by image and row by row. Torch {about["torch"]}; the tables are in `docs/found/`.

| file | SHA-256 |
|---|---|
{digests}

With files of your own (a run that was stopped goes on):

```bash
python -m bench.found --images cifar10.zip --cnn cnn.safetensors --resnet18 resnet18.safetensors --synthetic published/
python docs/found.py
```
"""


def page(tables: Tables) -> str:
    """Return the page in Markdown."""
    parts = [OPENING]
    for title, claims, figure, alt, line in GROUPS:
        parts.append(f"## {title}\n\n{line}\n\n{table(claims(tables))}\n\n![{alt}](found/{figure}.png)\n\n{alt}.\n")
    return "\n".join([*parts, origin(tables)])


def main() -> None:
    """Write page and figures."""
    tables = Tables()
    PAGE.write_text(page(tables), encoding="utf-8")
    draw_all(tables)


if __name__ == "__main__":
    main()
