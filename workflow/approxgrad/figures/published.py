"""Cached maps of others, beside the study's own where it has them, as box plots over the step size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxgrad.evaluation.files import METRIC_TABLE, PUBLISHED_FILES, PUBLISHED_METRICS
from approxgrad.figures import style
from approxgrad.figures.boxes import SHOWN, Legible, draw_box, metric_axis
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.figure import FIGURES, Figure, Keys, reference_label
from approxgrad.figures.source_axes import source_figure, source_groups
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Source
from approxgrad.study.looks import families

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

PUBLISHED, OWN = "published", "this study"
OFFSET = 0.22
WIDTH = 0.42
NOTE = "They are not of the same images, and each is compared with exact maps of its own."


@FIGURES.add
class Published(Figure):
    """A panel for each of three metrics, with a published box and one of this study for each step."""

    name: ClassVar[str] = "published"
    label: ClassVar[str] = "published against reproduced"
    level: ClassVar[tuple[str, ...]] = ("source", "method")
    file: ClassVar[str] = "boxplots"
    folder: ClassVar[str] = "results/published/figures"
    category: ClassVar[str] = "cached arrays"
    subcategory: ClassVar[str] = "{source}"
    target: ClassVar[str] = "published"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the sources of cached arrays with their methods."""
        return [*study.cached_methods]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the metrics of the cached maps, and the study's own where it computes the same."""
        inputs: dict[str, str | list[str]] = {"published": PUBLISHED_METRICS.format(**keys)}
        inputs["files"] = f"{PUBLISHED_FILES}.parquet"
        if study.reproduced(keys["source"], keys["method"]):
            inputs["own"] = METRIC_TABLE.format(**self._names(study, keys))
        return inputs

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the keys under which the cached maps are shown."""
        names, scheme = self._names(study, keys), study.config.cached_arrays[keys["source"]].scheme
        steps = tuple(file.step for file in study.cached_arrays(keys["source"]))
        labels = {key: study.labels[key].get(name, name.replace("_", " ")) for key, name in names.items()}
        known = study.families(names["dataset"]) if names["dataset"] in study.labels["dataset"] else {}
        # Of a family that the study itself may lack.
        cached = families(Source(Difference(scheme, steps), step) for step in steps)
        return {
            "labels": labels,
            "names": names,
            "against": reference_label(study, keys["method"]),
            "families": cached | style.complete_looks(known),
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the box plots of both metric tables, or of the published one."""
        from approxgrad.evaluation.cached_scales import scale_notes
        from approxgrad.evaluation.frames import read_metrics, read_shown
        from approxgrad.storage.tables import read_table

        published = read_metrics(inputs["published"], **params["names"])
        remarks = scale_notes(read_table(inputs["files"])[0].to_pandas(), keys["source"], keys["method"])
        params = {**params, "remarks": remarks}
        if "own" not in inputs:
            return boxplots(published, params)
        return published_boxplots(published, read_shown(inputs["own"], **params["names"]), params)

    def _names(self, study: Study, keys: Keys) -> dict[str, str]:
        own = study.config.cached_arrays[keys["source"]].compare_with
        dataset, model = (own.dataset, own.model) if own else (keys["source"], "as cached")
        return {"dataset": dataset, "model": model, "method": keys["method"]}


@style.applied_style()
def published_boxplots(
    published: pd.DataFrame, own: pd.DataFrame, params: Mapping[str, Any]
) -> tuple[Drawing, pd.DataFrame]:
    """Draw the published rows and this study's with the same steps; the column ``series`` tells them apart."""
    import pandas as pd
    from matplotlib.patches import Patch

    from approxgrad.evaluation.metrics import METRICS

    labels = params["labels"]
    tables = {PUBLISHED: published, OWN: own}
    parts = [style.tidy(style.compared_rows(table), *SHOWN).assign(series=series) for series, table in tables.items()]
    common = parts[0][["family", "setting"]].drop_duplicates()
    numbers = pd.concat([part.merge(common, on=["family", "setting"]) for part in parts], ignore_index=True)
    groups = source_groups(parts[0], params["families"])
    figure, panels = source_figure(groups, len(SHOWN), 1.4 + 1.3 * len(SHOWN))
    colours, shown = {}, Legible()
    for axes, name in zip(panels[:, 0], SHOWN, strict=True):
        axis = metric_axis(METRICS[name], [numbers])
        for source in groups[0].sources:
            both_series = (source.values(numbers[numbers["series"] == series], name) for series in tables)
            (theirs, their_undefined), (ours, our_undefined) = both_series
            sides = [(source.position + side * OFFSET * source.width, WIDTH * source.width) for side in (-1, 1)]
            look = {"colour": style.PUBLISHED_COLOUR, "hatch": style.PUBLISHED_HATCH}
            draw_box(axes, axis, theirs, source, place=sides[0], **look)
            draw_box(axes, axis, ours, source, place=sides[1])
            both, undefined = np.concatenate([theirs, ours]), their_undefined + our_undefined
            shown.add(axes, axis, source, both, undefined, first=name == SHOWN[0])
            colours[source.family] = source.colour
        axis.apply(axes)
    looks: dict[str, Any] = {"facecolor": style.PUBLISHED_COLOUR, "hatch": style.PUBLISHED_HATCH}
    handles = [Patch(**looks, edgecolor=style.BLACK, label=PUBLISHED)]
    handles += [Patch(facecolor=colour, edgecolor=style.BLACK, label=OWN) for colour in colours.values()]
    panels[0, 0].legend(handles=handles, **style.ABOVE, ncols=len(handles), handlelength=1.4, columnspacing=1)
    sizes = numbers.groupby(["series", "gradient"], observed=True)["sample"].count()
    words = " and ".join(
        f"{series} {style.sizes_in_words(counts)}" for series, counts in sizes.groupby("series", sort=False)
    )
    note = " ".join([NOTE, shown.note(groups), *params.get("remarks", [])])
    style.annotate(figure, labels, labels["method"], "published maps and this study's", words, note=note)
    return figure, numbers
