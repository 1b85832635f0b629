"""The explorer as one HTML file: for each comparison an Altair chart with its data inside."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import vl_convert

from approxgrad.evaluation.metrics import METRICS
from approxgrad.figures.boxes import FEWEST
from approxgrad.figures.style import BLACK, BLUE, GREEN, VERMILLION
from approxgrad.report.explorer import QUANTILES, Comparison, chart_data, limits
from approxgrad.report.pages import compressed, page, template

TITLE = "Explore the attributions"
BOX_COLOUR = "#a6cbe3"
WIDTH, SIDE, MOST_BOX = 700, 180, 34  # most pixels: width of a chart, longest side of a map, width of a box
MOST_FEATURES = 40  # features of a table whose bars are drawn: those with the largest exact attributions
COLOURS = (VERMILLION, BLUE, GREEN)  # of what is compared with, of approximated attributions, and of true effects
CONFIG = {
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e4e7eb"},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    "title": {"anchor": "start", "fontSize": 13},
    "font": "system-ui, sans-serif",
}
SCALE = "scales[reference][measure]"
SOURCE, SAMPLE = (
    alt.selection_point(name=name, fields=[name], clear=False, on=f"click[event.item && event.item.datum && {clicked}]")
    for name, clicked in (("source", "event.item.datum.source"), ("sample", "event.item.datum.mapped"))
)
"""The chosen source and row: from a list, or by a click on a mark that has it."""


def explorer_page(comparisons: Sequence[Comparison]) -> str:
    """Return the page, HTML with all scripts and data inside; the same comparisons give the same bytes."""
    room = limits(comparisons)
    charts = [_entry(item, chart_data(item, room)) for item in comparisons]
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    parts = {
        "library": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version),
        "data": json.dumps(
            {"width": WIDTH, "side": SIDE, "box": MOST_BOX, "comparisons": charts},
            separators=(",", ":"),
            allow_nan=False,
        ),
    }
    body = template("explorer.html")
    for name, text in parts.items():
        body = body.replace(f"{{{{ {name} }}}}", compressed(text))
    scripts = [template(name) for name in ("unzip.js", "explorer.js")]
    return page(TITLE, body, scripts=scripts, styles=[template(name) for name in ("choices.css", "explorer.css")])


def _entry(item: Comparison, data: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison with its names, its charts and what decides how these fit into a window."""
    return {
        "group": f"{item.labels['dataset']}, {item.labels['model']}",
        "name": item.labels["method"],
        "shape": data["shape"],
        "sources": len({row["source"] for row in data["boxes"]}),
        "chart": comparison_chart(item, data),
    }


def comparison_chart(item: Comparison, data: dict[str, Any]) -> dict[str, Any]:
    """Return the Vega-Lite specification of a comparison with the data of :func:`chart_data` inside."""
    features = len(set(item.exact.names.groups)) or math.prod(item.exact.metadata["feature_shape"])
    known = [name for name in METRICS if item.metrics[name].notna().any()]
    labels = {name: METRICS[name].label_of(features) for name in known or METRICS}
    rows = {row["sample"]: row["name"] for row in data["rows"]}
    sources = {row["source"]: row["source"] for row in data["differences"]}
    references = {name: name for name in data["scales"]}
    boxes = len({row["source"] for row in data["boxes"]})
    fixed = _chart(tuple(data["shape"]), item.is_image, "truth" in data["rows"][0], boxes, item.against)
    views = {parameter["name"]: parameter for parameter in fixed["params"]}
    parameters = [
        {"name": "box", "value": MOST_BOX},
        {"name": "scales", "value": data["scales"]},
        {"name": "labels", "value": labels},
        {"name": "measure", "value": next(iter(labels)), "bind": _list("Measure", labels)},
        {"name": "reference", "value": next(iter(references)), "bind": _list("Compared with", references)},
        views["source"]
        | {"value": [{"source": data["recommended"]}], "bind": {"source": _list("Gradient source", sources)}},
        views["sample"] | {"value": [{"sample": next(iter(rows))}], "bind": {"sample": _list("Test row", rows)}},
    ]
    datasets = {name: data[name] for name in ("boxes", "points", "rows", "differences", "features")}
    datasets["metrics"] = [{"metric": name, "label": labels[name], "best": METRICS[name].best} for name in labels]
    return fixed | {"params": parameters, "datasets": datasets}


def _list(title: str, labels: Mapping[Any, str]) -> dict[str, Any]:
    return alt.binding_select(options=[*labels], labels=[*labels.values()], name=title).to_dict()


@cache
def _chart(shape: tuple[int, int], is_image: bool, has_truth: bool, boxes: int, against: str) -> dict[str, Any]:
    """Return what comparisons of one form share: the charts without data and choices, which take long to check."""
    maps = _image(shape, against) if is_image else _bars(has_truth, against)
    chart = alt.vconcat(_distribution(boxes), maps).resolve_scale(color="independent")
    specification: dict[str, Any] = chart.to_dict() | {"config": CONFIG}
    # The address of the schema: nothing loads it, but the page shall not name one.
    del specification["$schema"]
    return specification


def _distribution(sources: int) -> Any:
    """Return boxes over all rows and points of some, for the chosen metric and reference."""
    labels = {"labelAngle": 0, "labelExpr": "split(datum.label, ', ')"} if sources <= 6 else {"labelAngle": -60}
    x = alt.X("source:N", sort=None, title=None, axis=alt.Axis(labelLimit=200, **labels))
    axis = alt.Axis(
        title=None,
        minExtent=42,
        tickMinStep=alt.ExprRef(f"{SCALE}.logarithmic ? 1 : 0"),
        labelExpr=f"{SCALE}.logarithmic ? format(pow(10, datum.value), '.1~e') : datum.label",
    )
    ends = [alt.ExprRef(f"{SCALE}.low"), alt.ExprRef(f"{SCALE}.high")]

    def y(name: str) -> alt.Y:
        return alt.Y(f"y_{name}:Q", scale=alt.Scale(domain=ends, zero=False, nice=False), axis=axis)

    def plotted(chart: alt.Chart, **values: str) -> alt.Chart:
        placed = {f"y_{name}": f"{SCALE}.logarithmic ? log({text}) / LN10 : {text}" for name, text in values.items()}
        return (
            chart.transform_filter("datum.reference == reference")
            .transform_calculate(**values)
            .transform_calculate(**placed)
        )

    boxes = plotted(
        alt.Chart(alt.NamedData("boxes")).transform_filter(f"datum[measure].n >= {FEWEST}"),
        **{name: f"datum[measure].{name}" for name in QUANTILES},
    )
    tooltip = [
        alt.Tooltip("source:N"),
        alt.Tooltip("n:Q", title="test rows"),
        *(alt.Tooltip(f"{name}:Q", format=".5g") for name in reversed(QUANTILES)),
        alt.Tooltip("nearest:N", title="nearest to perfect agreement"),
    ]
    boxes = boxes.transform_calculate(n="datum[measure].n", nearest="datum[measure].nearest ? 'yes' : 'no'").encode(
        x=x, tooltip=tooltip
    )
    size = alt.ExprRef("box")
    points = plotted(alt.Chart(alt.NamedData("points")), value="datum[measure]").transform_filter(
        "isValid(datum.value)"
    )
    points = points.encode(
        x=x,
        y=y("value"),
        xOffset=alt.XOffset("jitter:Q", scale=alt.Scale(domain=[-0.8, 0.8])),
        tooltip=["source:N", alt.Tooltip("sample:Q", title="test row"), alt.Tooltip("value:Q", format=".5g")],
    )
    shown = points.transform_filter(SOURCE).transform_filter(SAMPLE)
    title = "[labels[measure], 'compared with ' + reference]"
    return alt.layer(
        boxes.mark_rule(color=BLACK).encode(y=y("low"), y2="y_high"),
        boxes.mark_bar(stroke=BLACK, strokeWidth=0.7, cursor="pointer", size=size).encode(
            y=y("lower"), y2="y_upper", color=alt.condition(SOURCE, alt.value(BLUE), alt.value(BOX_COLOUR))
        ),
        boxes.mark_bar(stroke=BLACK, strokeWidth=2, size=size).encode(y=y("median"), y2="y_median"),
        points.mark_circle(size=16, opacity=0.45, color=BLACK, cursor="pointer").add_params(SOURCE, SAMPLE),
        shown.mark_circle(size=90, opacity=1, color=VERMILLION, stroke="white", strokeWidth=1),
    ).properties(title=alt.Title(alt.ExprRef(title)), width=WIDTH, height=300)


def _compared(*more: str) -> alt.Chart:
    """Return the chosen difference, joined with the row's exact map, as one row for each of its numbers."""
    names = ["exact", "exact_scale", *more]
    return (
        alt.Chart(alt.NamedData("differences"))
        .transform_filter(SOURCE)
        .transform_filter(SAMPLE)
        .transform_lookup("sample", alt.LookupData(alt.NamedData("rows"), "sample", names))
        .transform_flatten(["difference", "exact", *more])
        .transform_window(number="row_number()", groupby=["sample"])  # facets need the grouping
        .transform_calculate(exact="datum.exact * datum.exact_scale")
        .transform_calculate(difference="datum.difference * datum.difference_scale")
        # What is smaller than the rounding of the two is zero, and not of a sign that the map does not have.
        .transform_calculate(finest="(datum.exact_scale + datum.difference_scale) / 2")
        .transform_calculate(approximated="datum.exact + datum.difference")
        .transform_calculate(approximated="abs(datum.approximated) < datum.finest ? 0 : datum.approximated")
    )


def _image(shape: tuple[int, int], against: str) -> alt.ConcatChart:
    """Return the input, the exact and the approximated map with one colour scale, and their difference."""
    height, width = shape
    pixel = max(1, SIDE // max(shape))  # whole screen pixels, so that no seams show
    place = {"row": f"floor((datum.number - 1) / {width}) + 1", "column": f"(datum.number - 1) % {width} + 1"}
    cells = _compared("input").transform_calculate(**place, **{against: "datum.exact"})
    where = [alt.Tooltip("row:O"), alt.Tooltip("column:O")]
    legend = alt.Legend(orient="bottom", title=None, format=".2g", tickCount=3, gradientLength=pixel * width)
    colour = alt.Color("value:Q", scale=alt.Scale(scheme="blueorange", domainMid=0), legend=legend)

    tight = alt.Scale(padding=0)

    def pixels(chart: alt.Chart) -> alt.Chart:
        own = chart.mark_rect().encode(
            x=alt.X("column:O", axis=None, scale=tight), y=alt.Y("row:O", axis=None, scale=tight)
        )
        return own.properties(width=pixel * width, height=pixel * height)

    def maps(*kinds: str) -> alt.FacetChart:
        values = cells.transform_fold([*kinds], as_=["kind", "value"])
        value = alt.Tooltip("value:Q", title="attribution", format=".4g")
        header = alt.Header(title=None, labelFontSize=13, labelFontWeight="bold")
        return pixels(values.encode(color=colour, tooltip=[*where, value])).facet(
            column=alt.Column("kind:N", sort=[*kinds], header=header)
        )

    picture = pixels(cells.transform_calculate(colour="'#' + datum.input")).encode(
        color=alt.Color("colour:N", scale=None), tooltip=where
    )
    parts = (
        picture.properties(title=alt.Title("input", anchor="middle")),
        maps(against, "approximated"),
        maps("difference"),
    )
    return alt.hconcat(*parts).resolve_scale(color="independent")


def _bars(has_truth: bool, against: str) -> alt.VConcatChart:
    """Return bars of the attribution of each feature, and below them the differences."""
    more = ["input", "truth"] if has_truth else ["input"]
    kinds = dict(zip([against, "approximated", *["true effect"] * has_truth], COLOURS, strict=False))
    largest: list[Any] = [alt.SortField("size", order="descending")]
    features = (
        _compared(*more)
        .transform_calculate(**{"size": "abs(datum.exact)", "true effect": "datum.truth", against: "datum.exact"})
        .transform_window(rank="rank()", sort=largest, groupby=["sample"])
        .transform_filter(f"datum.rank <= {MOST_FEATURES}")
        .transform_lookup("number", alt.LookupData(alt.NamedData("features"), "number", ["feature"]))
    )
    tooltip = [alt.Tooltip("feature:N"), alt.Tooltip("input:N", title="its value")]
    axis = alt.Axis(minExtent=42, format="~g")
    in_order = alt.EncodingSortField("number", order="ascending")
    x = alt.X("feature:N", title="feature", sort=in_order, axis=alt.Axis(labelAngle=-40, labelLimit=120))
    colour = alt.Color(
        "kind:N", scale=alt.Scale(domain=[*kinds], range=[*kinds.values()]), legend=alt.Legend(orient="top", title=None)
    )
    values = (
        features.transform_fold([*kinds], as_=["kind", "value"])
        .mark_bar()
        .encode(
            x=x,
            xOffset=alt.XOffset("kind:N", sort=[*kinds]),
            y=alt.Y("value:Q", title="attribution", axis=axis),
            color=colour,
            tooltip=[*tooltip, "kind:N", alt.Tooltip("value:Q", format=".4g")],
        )
    )
    differences = features.mark_bar(color=BLUE).encode(
        x=x,
        y=alt.Y("difference:Q", title=f"approximated − {against}", axis=axis),
        tooltip=[*tooltip, alt.Tooltip("difference:Q", format=".4g")],
    )
    return alt.vconcat(values.properties(width=WIDTH, height=220), differences.properties(width=WIDTH, height=120))
