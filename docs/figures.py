"""Write `figures.md`, the gallery, from what the code says of its figures: python docs/figures.py [RESULTS].

With a folder of results, one picture of each figure is taken from there.
"""

import re
import sys
from pathlib import Path

from approxgrad.figures.figure import FIGURES

DOCS = Path(__file__).parent
PAGE, PICTURES = DOCS / "figures.md", DOCS / "figures"
CAPTIONS = DOCS.parent / "workflow" / "rules"
MOST_PIXELS = 1100  # of the width

OPENING = """# Figures

<!-- made by: python docs/figures.py -->

What a study draws. Each picture is there as SVG, PNG and PDF, with the numbers that it shows as CSV beside it, below
`results/figures/`; `figures` in the [configuration](configuration.md) names the formats, and leaves out titles and
notes for papers, which say these in their captions. Text in SVG and PDF stays text. Intervals are bootstrap intervals
over the test rows, which are the same for all gradient sources of a data set. To read the error of an attribution,
begin with [error against step](#error-against-step).
"""


def caption(figure):
    """Return a caption without the names of one study."""
    text = (CAPTIONS / figure.caption_path).read_text(encoding="utf-8")
    # What depends on a study is told of all of them.
    text = re.sub(r"\{%.*?%\}\n", "", text)
    text = re.sub(r"\{\{ *snakemake\.wildcards\.(\w+) *\}\}", lambda key: f"*{key[1]}*", text)
    return text.replace("``", "`").strip()


def page():
    """Return the page in Markdown."""
    parts = [OPENING]
    for name, described in FIGURES.items():
        figure = described()
        parts.append(
            f"## {figure.label[0].upper()}{figure.label[1:]}\n\n{figure.line} `{figure.path.split('/')[-1]}`\n"
        )
        if (PICTURES / f"{name}.png").exists():
            parts.append(f"![{figure.label}](figures/{name}.png)\n")
        parts.append(f"{caption(figure)}\n")
    return "\n".join(parts)


def take(results):
    """Copy the first picture of each figure, with fewer colours."""
    from PIL import Image

    PICTURES.mkdir(exist_ok=True)
    for name, described in FIGURES.items():
        figure = described()
        if figure.folder == "results/figures":
            for path in sorted(results.glob(f"figures/**/{figure.path.split('/')[-1]}.png"))[:1]:
                picture = Image.open(path).convert("RGB")
                picture.thumbnail((MOST_PIXELS, 4 * MOST_PIXELS))
                picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        take(Path(sys.argv[1]))
    PAGE.write_text(page(), encoding="utf-8")
