"""The explorer as one HTML file: data, charts and the JavaScript that draws them."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import altair as alt
import vl_convert

from approxgrad.figures.style import BLACK, BLUE, GREEN, SCHEME_COLOURS, VERMILLION
from approxgrad.report.pages import page, template

TITLE = "Explore the attributions"
BOX_COLOUR = "#a6cbe3"
ALIGNED = alt.Axis(minExtent=42)  # Charts below each other have the same left edge.
CONFIG = {
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e4e7eb"},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    "font": "system-ui, sans-serif",
}


def explorer_page(data: dict[str, Any]) -> str:
    """Return the page; the same data give the same bytes.

    Parameters
    ----------
    data : dict
        :func:`approxgrad.report.explorer.explorer_data`.

    Returns
    -------
    str
        HTML with all scripts inside, which loads nothing.
    """
    document = json.dumps({**data, "charts": charts()}, separators=(",", ":"), allow_nan=False)
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    body = template("explorer.html").replace("{{ library }}", _packed(library)).replace("{{ data }}", _packed(document))
    return page(TITLE, body, scripts=[template("explorer.js")], styles=[template("explorer.css")])


def _packed(text: str) -> str:
    """Return text compressed and in base64: Chromium opens no page above 2 MiB inside a report."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


def charts() -> dict[str, Any]:
    """Return the Vega-Lite charts, whose data, sizes and scales the page fills in."""
    drawn: dict[str, alt.TopLevelMixin] = {
        "distribution": _distribution(),
        "map": _map(),
        "picture": _picture(),
        "bars": _bars(),
        "differences": _differences(),
    }
    return {name: _specification(chart) for name, chart in drawn.items()}


def _specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    specification: dict[str, Any] = {**chart.to_dict(), "config": CONFIG}
    # The address of the schema: nothing loads it, but the page shall not name one.
    del specification["$schema"]
    return specification


def _distribution() -> alt.TopLevelMixin:
    x = alt.X(
        "source:N",
        sort=None,
        title="gradient source",
        axis=alt.Axis(labelAngle=0, labelExpr="split(datum.label, ', ')"),
    )
    chosen = alt.condition("datum.chosen", alt.value(SCHEME_COLOURS["forward"]), alt.value(BOX_COLOUR))
    boxes = alt.Chart(alt.NamedData("boxes")).encode(x=x, tooltip=_BOX_TOOLTIP)
    scale = alt.Scale(zero=False)
    layers = [
        boxes.mark_rule(color=BLACK).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        boxes.mark_bar(size=34, stroke=BLACK, strokeWidth=0.7).encode(
            y=alt.Y("lower:Q", scale=scale), y2="upper:Q", color=chosen
        ),
        boxes.mark_tick(color=BLACK, thickness=2, width=34).encode(y=alt.Y("median:Q", scale=scale)),
    ]
    points = alt.Chart(alt.NamedData("points")).encode(
        x=x,
        y=alt.Y("value:Q", scale=scale),
        xOffset=alt.XOffset("jitter:Q", scale=alt.Scale(domain=[-0.8, 0.8])),
        tooltip=[
            alt.Tooltip("source:N"),
            alt.Tooltip("sample:Q", title="test row"),
            alt.Tooltip("value:Q", format=".5g"),
        ],
    )
    layers.append(points.mark_circle(size=16, opacity=0.45, color=BLACK, cursor="pointer"))
    shown = points.transform_filter("datum.shown")
    layers.append(shown.mark_circle(size=90, opacity=1, color=VERMILLION, stroke="white", strokeWidth=1))
    return alt.layer(*layers).properties(width="container", height=300)


_BOX_TOOLTIP = [
    alt.Tooltip("source:N"),
    alt.Tooltip("n:Q", title="test rows"),
    *(
        alt.Tooltip(f"{name}:Q", title=title, format=".5g")
        for name, title in {
            "high": "95th percentile",
            "upper": "upper quartile",
            "median": "median",
            "lower": "lower quartile",
            "low": "5th percentile",
        }.items()
    ),
]


def _pixels(mark: str) -> alt.Chart:
    return (
        alt.Chart(alt.NamedData("pixels"))
        .mark_rect(tooltip=True)
        .encode(x=alt.X("column:O", axis=None), y=alt.Y("row:O", axis=None))
        .properties(description=mark)
    )


def _map() -> alt.Chart:
    legend = alt.Legend(orient="bottom", title=None, format=".2g", tickCount=3, gradientThickness=10)
    colour = alt.Color("value:Q", scale=alt.Scale(scheme="blueorange", domainMid=0), legend=legend)
    return _pixels("attribution map").encode(color=colour, tooltip=_pixel_tooltip("attribution"))


def _picture() -> alt.Chart:
    colour = alt.Color("colour:N", scale=None)
    return _pixels("input of the model").encode(color=colour, tooltip=_pixel_tooltip("brightness"))


def _pixel_tooltip(title: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("row:O"), alt.Tooltip("column:O"), alt.Tooltip("value:Q", title=title, format=".4g")]


def _bars() -> alt.Chart:
    kinds = {"exact": VERMILLION, "approximated": BLUE, "true effect": GREEN}
    scale = alt.Scale(domain=list(kinds), range=list(kinds.values()))
    return (
        _features()
        .encode(
            xOffset=alt.XOffset("kind:N", sort=list(kinds)),
            y=alt.Y("value:Q", title="attribution", axis=ALIGNED),
            color=alt.Color("kind:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=[*_FEATURE_TOOLTIP, alt.Tooltip("kind:N"), alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(height=260)
    )


def _differences() -> alt.Chart:
    tooltip = [*_FEATURE_TOOLTIP, alt.Tooltip("value:Q", title="difference", format=".4g")]
    y = alt.Y("value:Q", title="approximated − exact", axis=ALIGNED)
    return _features().encode(y=y, tooltip=tooltip).properties(height=150)


_FEATURE_TOOLTIP = [alt.Tooltip("feature:O"), alt.Tooltip("input:Q", title="its value", format=".4g")]


def _features() -> alt.Chart:
    x = alt.X("feature:O", sort=None, axis=alt.Axis(labelAngle=0))
    return alt.Chart(alt.NamedData("features")).mark_bar(color=BLUE).encode(x=x).properties(width="container")
