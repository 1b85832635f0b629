import base64
import dataclasses
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
import vl_convert

from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.evaluation.metrics import METRICS
from approxgrad.report.explorer import MOST_POINTS, MOST_SAMPLES, QUANTILES, chart_data, limits, read_comparison
from approxgrad.report.explorer_page import comparison_chart, explorer_page
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import write_table

CHROMIUM_LIMIT = 2 * 2**20
STEPS = (0.5, 10.0, 2.0)
NAMES = ("data", "net", "saliency")
LABELS = {"dataset": "data", "model": "Net", "method": "Saliency"}
FAMILIES = {
    "exact": {"label": "exact", "setting_name": "", "symbol": "", "exact": True},
    "forward": {"label": "forward differences", "setting_name": "step", "symbol": "h", "exact": False},
}
REFERENCE, TRUTH = "the reference attribution", "the true effects"


def attributions(shape, step=None, samples=20, seed=0, truth=False, first=100):
    """Random maps; rows that are the same in every file but for the attributions, which depend on the step."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    inputs, exact, effects = rng.normal(size=(3, samples, size)).astype(np.float32)
    maps = exact if step is None else exact + np.float32(step) * rng.normal(size=exact.shape).astype(np.float32)
    channels = shape[0] if len(shape) == 3 else 1
    metadata = {
        "feature_shape": list(shape),
        "normalisation": {"mean": [0.5] * channels, "std": [0.25] * channels},
        "gradient": "exact" if step is None else f"forward-h{step:g}",
        "family": "exact" if step is None else "forward",
        "setting": step,
        "setting_name": "" if step is None else "step",
        "chosen": False,
        "dtype": "float32",
        "evaluations": 1 if step is None else size + 1,
    }
    target = np.arange(samples) % 3 if len(shape) == 3 else None
    return Attributions(np.arange(first, first + samples), maps, inputs, target, effects if truth else None, metadata)


def written(folder, results):
    paths = [folder / f"{number}.parquet" for number in range(len(results))]
    for path, result in zip(paths, results, strict=True):
        write_attributions(path, result)
    return paths


def comparison(folder, shape, *, steps=STEPS, labels=LABELS, **options):
    """A comparison as it is read from the files of a run, and the attributions in them, the exact one first."""
    results = [attributions(shape, **options), *(attributions(shape, step, **options) for step in steps)]
    exact, *others = written(folder, results)
    write_table(folder / "metrics.parquet", evaluate_method([exact], others), {})
    described = {"labels": labels, "families": FAMILIES, "is_image": len(shape) == 3}
    return read_comparison(NAMES, folder / "metrics.parquet", exact, others, **described), results


def data(*items):
    return chart_data(items[0], limits(items))


def test_boxes_are_over_all_rows_and_points_in_the_order_of_the_samples(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=150, truth=True)
    found = data(item)
    ordered = ["exact", "forward differences, h = 0.5", "forward differences, h = 2", "forward differences, h = 10"]
    assert [(box["reference"], box["source"]) for box in found["boxes"]] == [
        *((REFERENCE, source) for source in ordered[1:]),
        *((TRUTH, source) for source in ordered),
    ]
    for step, box in zip((0.5, 2, 10), found["boxes"], strict=False):
        table = item.metrics[(item.metrics["reference"] == "exact") & (item.metrics["setting"] == step)]
        values = table.set_index("sample")[[*METRICS]].astype(float)
        points = [p for p in found["points"] if (p["reference"], p["source"]) == (REFERENCE, box["source"])]
        assert [point["sample"] for point in points] == list(range(100, 100 + MOST_POINTS))
        assert [point["mapped"] for point in points] == [place < MOST_SAMPLES for place in range(MOST_POINTS)]
        for metric in METRICS:
            assert box[metric]["n"] == values[metric].count()
            # Six significant digits.
            expected = values[metric].quantile(list(QUANTILES.values()))
            np.testing.assert_allclose([box[metric][key] for key in QUANTILES], expected, rtol=5e-6)
            shown = np.array([point[metric] for point in points], float)
            np.testing.assert_allclose(shown, values[metric].iloc[:MOST_POINTS], rtol=5e-6)


def test_sources_stand_in_the_order_of_figures_and_the_nearest_one_is_recommended(tmp_path):
    results = [attributions((5,)), *(attributions((5,), step) for step in (2.0, 10.0, 0.5, 1.0))]
    for result in results[3:]:
        result.metadata.update(family="all", gradient=f"all-h{result.metadata['setting']:g}")
    exact, *others = written(tmp_path, results)
    write_table(tmp_path / "metrics.parquet", evaluate_method([exact], others), {})
    # By their names, the families would stand the other way round.
    families = FAMILIES | {"all": FAMILIES["forward"] | {"label": "all features"}}
    described = {"labels": LABELS, "families": families, "is_image": False}
    item = read_comparison(NAMES, tmp_path / "metrics.parquet", exact, others, **described)
    found = data(item)
    ordered = [
        *("forward differences, h = 2", "forward differences, h = 10", "all features, h = 0.5", "all features, h = 1")
    ]
    assert [box["source"] for box in found["boxes"]] == ordered
    assert list(dict.fromkeys(row["source"] for row in found["differences"])) == ordered
    # The maps are farther from the reference in proportion to the step.
    assert found["recommended"] == "all features, h = 0.5"
    (chosen,) = [own["value"] for own in comparison_chart(item, found)["params"] if own["name"] == "source"]
    assert chosen == [{"source": "all features, h = 0.5"}]


def test_the_nearest_source_is_found_before_numbers_are_rounded(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=4)
    # Correlations that are 1 with six digits, two errors that are equally small, and no cosine.
    for step, near, far in ((0.5, 1 - 2e-9, 2e-9), (2.0, 1 - 1e-9, 1e-9), (10.0, 1 - 3e-9, 1e-9)):
        own = item.metrics["setting"] == step
        item.metrics.loc[own, ["pearson", "relative_error", "cosine"]] = [near, far, None]
    boxes = data(item)["boxes"]
    marked = {
        metric: [box["source"][-2:].strip() for box in boxes if box[metric]["nearest"]]
        for metric in ("pearson", "relative_error", "cosine")
    }
    assert marked == {"pearson": ["2"], "relative_error": ["2", "10"], "cosine": []}


def test_features_classes_and_origins_have_their_names(tmp_path):
    names = {
        "feature_names": ["age", "city=Lima", "city=Oslo", "rooms"],
        "feature_groups": ["age", "city", "city", "rooms"],
        "classes": ["no", "yes"],
    }
    results = [attributions((4,), step, samples=3) for step in (None, 0.5, 2.0)]
    for result in results:
        result.inputs[:, 1:3] = [[0, 1], [1, 0], [0, 1]]
        result.metadata.update(names)
    origin = np.array(["17", "4", "30"])
    results = [dataclasses.replace(result, target=np.array([1, 0, 1]), origin=origin) for result in results]
    exact, *others = written(tmp_path, results)
    write_table(tmp_path / "metrics.parquet", evaluate_method([exact], others), {})
    described = {"labels": LABELS, "families": FAMILIES, "is_image": False}
    item = read_comparison(NAMES, tmp_path / "metrics.parquet", exact, others, **described)
    assert item.metrics["origin"].tolist() == ["17", "4", "30"] * 2
    found = data(item)
    assert [row["feature"] for row in found["features"]] == ["age", "city", "rooms"]
    assert found["shape"] == [1, 3]
    assert [row["name"] for row in found["rows"]][:2] == [
        "row 100, class yes, origin 17",
        "row 101, class no, origin 4",
    ]
    assert [row["input"][1] for row in found["rows"]] == ["Oslo", "Lima", "Oslo"]
    for row, own in zip(found["rows"], results[0].attribution, strict=True):
        values = [own[0], own[1] + own[2], own[3]]
        step = row["exact_scale"] / 2
        np.testing.assert_allclose(np.array(row["exact"]) * row["exact_scale"], values, atol=2 * step)
    chart = json.dumps(comparison_chart(item, found))
    assert '"city"' in chart
    assert "origin 17" in chart


def test_undefined_metrics_are_left_out_of_boxes_and_points(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=4)
    item.metrics.loc[(item.metrics["setting"] == 2) & (item.metrics["sample"] == 101), "pearson"] = None
    item.metrics.loc[item.metrics["setting"] == 10, "pearson"] = None
    found = data(item)
    _, two, ten = found["boxes"]
    assert two["pearson"]["n"] == 3
    assert ten["pearson"] == {"n": 0, "nearest": False}
    points = {(point["source"], point["sample"]): point["pearson"] for point in found["points"]}
    assert points["forward differences, h = 2", 101] is None
    assert points["forward differences, h = 2", 102] is not None
    assert json.dumps(found, allow_nan=False)


def test_axes_are_logarithmic_for_errors_over_decades_and_not_blown_up_for_equal_correlations(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=4)
    item.metrics["relative_error"] = np.geomspace(1e-4, 1, len(item.metrics))
    item.metrics["mean_squared_error"] = np.linspace(1, 2, len(item.metrics))
    item.metrics["pearson"] = 0.99999
    item.metrics["cosine"] = None
    scales = data(item)["scales"][REFERENCE]
    assert scales["relative_error"] == {"logarithmic": True, "low": pytest.approx(-4.12), "high": pytest.approx(0.12)}
    assert scales["mean_squared_error"] == {"logarithmic": False, "low": pytest.approx(0.97), "high": 2.03}
    assert scales["pearson"] == {"logarithmic": False, "low": pytest.approx(0.89699), "high": pytest.approx(1.00299)}
    assert scales["cosine"]["low"] < scales["cosine"]["high"]


@pytest.mark.parametrize("shape", [(5,), (1, 4, 6), (3, 4, 6)], ids=["table", "grey", "colour"])
def test_maps_come_back_within_the_rounding_of_their_integers(tmp_path, shape):
    item, (exact, *approximated) = comparison(tmp_path, shape, truth=len(shape) == 1)
    found = data(item)
    assert [row["sample"] for row in found["rows"]] == list(range(100, 100 + MOST_SAMPLES))
    assert found["shape"] == [1, *shape][-2:]
    half = 0.5 / (127 if len(shape) == 3 else 32767) + 5e-6

    def summed(values):
        channels = values.astype(float).reshape(shape if len(shape) == 3 else (1, -1))
        return channels.sum(axis=0).ravel()

    def check(packed, name, wanted):
        values = np.array(packed[name]) * packed[f"{name}_scale"]
        np.testing.assert_allclose(values, wanted, rtol=0, atol=half * np.abs(wanted).max())

    for place, row in enumerate(found["rows"]):
        wanted = summed(exact.attribution[place])
        check(row, "exact", wanted)
        for step, result in zip(STEPS, approximated, strict=True):
            source = f"forward differences, h = {step:g}"
            (own,) = (d for d in found["differences"] if (d["source"], d["sample"]) == (source, row["sample"]))
            check(own, "difference", summed(result.attribution[place]) - wanted)
        if len(shape) == 1:
            np.testing.assert_allclose(row["input"], exact.inputs[place], rtol=5e-6)
            np.testing.assert_allclose(row["truth"], exact.truth[place], rtol=5e-6)
        else:
            colours = np.moveaxis(np.clip(exact.inputs[place].reshape(shape) * 0.25 + 0.5, 0, 1), 0, -1)
            pixels = [list(bytes.fromhex(text)) for text in row["input"]]
            expected = np.broadcast_to(255 * colours, (*colours.shape[:2], 3)).reshape(-1, 3)
            np.testing.assert_allclose(pixels, expected, rtol=0, atol=0.51)


def test_large_maps_are_coarsened_to_the_means_of_blocks(tmp_path):
    item, (exact, *_) = comparison(tmp_path, (1, 50, 100), steps=[1.0], samples=1)
    found = data(item)
    assert found["shape"] == [17, 34]
    pixels = exact.attribution[0].reshape(50, 100)
    (row,) = found["rows"]
    shown = np.array(row["exact"]).reshape(17, 34) * row["exact_scale"]
    atol = 0.51 / 127 * np.abs(shown).max()
    np.testing.assert_allclose(shown[3, 5], pixels[9:12, 15:18].mean(), rtol=0, atol=atol)
    np.testing.assert_allclose(shown[16, 33], pixels[48:, 99:].mean(), rtol=0, atol=atol)


def test_the_page_stays_below_what_chromium_opens_inside_a_report(tmp_path):
    steps = [0.1 * number for number in range(1, 11)]
    item, _ = comparison(tmp_path, (3, 96, 96), steps=steps, samples=MOST_SAMPLES)
    assert limits([item] * 2).samples > limits([item] * 3).samples
    assert limits([item] * 2).side > limits([item] * 40).side
    html = explorer_page([item] * 40)
    # As the report holds it: in base64, after a short header.
    assert 4 / 3 * len(html.encode()) + 100 < CHROMIUM_LIMIT


@pytest.mark.parametrize(("rows", "boxes"), [(5, 0), (6, len(STEPS))])
def test_few_rows_have_points_and_no_box(tmp_path, rows, boxes):
    item, _ = comparison(tmp_path, (5,), samples=rows)
    drawn = vl_convert.vegalite_to_svg({**comparison_chart(item, data(item))})
    assert drawn.count('stroke-width="0.7"') == boxes  # only the outlines of boxes are so thin


def test_attributions_without_a_common_sample_are_refused(tmp_path):
    paths = written(tmp_path, [attributions((5,)), attributions((5,), 1.0, first=500)])
    with pytest.raises(TableError, match="data, net, saliency: the attributions have no sample in common"):
        read_comparison(NAMES, tmp_path / "none", paths[0], paths[1:])


class Addresses(HTMLParser):
    """Collects what a page would load, and the text of its elements by id."""

    def __init__(self):
        super().__init__()
        self.loaded, self.texts, self._id = [], {}, None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.loaded += [attributes[name] for name in ("src", "href") if name in attributes]
        self._id = attributes.get("id")

    def handle_data(self, data):
        self.texts[self._id] = self.texts.get(self._id, "") + data


def test_the_page_is_the_same_every_time_and_holds_everything(tmp_path):
    item, _ = comparison(tmp_path, (1, 4, 6), labels=LABELS | {"method": "</script>"})
    html = explorer_page([item])
    assert html == explorer_page([item])
    assert "{{" not in re.sub("<script>.*?</script>", "", html, flags=re.DOTALL)
    parsed = Addresses()
    parsed.feed(html)
    assert not parsed.loaded
    assert "default-src 'none'" in html
    (held,) = json.loads(gzip.decompress(base64.b64decode(parsed.texts["data"])))["comparisons"]
    assert (held["group"], held["name"]) == ("data, Net", "</script>")
    found = data(item)
    assert all(held["chart"]["datasets"][name] == found[name] for name in ("boxes", "points", "rows", "differences"))
    assert "http" not in json.dumps(held)
    library = gzip.decompress(base64.b64decode(parsed.texts["library"])).decode()
    assert "window.vegaEmbed" in library


def test_reading_keeps_only_the_samples_there_may_be_room_for(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=30)
    assert len(item.exact.sample) == len(item.approximated[0].attribution) == MOST_SAMPLES
    assert len(item.metrics) == 30 * len(STEPS) == pq.read_metadata(tmp_path / "metrics.parquet").num_rows


def test_maps_are_called_what_they_are_compared_with(tmp_path):
    for shape in ([1, 4, 4], [6]):
        item, _ = comparison(tmp_path, shape)
        own = dataclasses.replace(item, against="exact of twin")
        text = json.dumps(comparison_chart(own, chart_data(own, limits([own]))))
        assert '"exact of twin"' in text
        assert ("approximated \\u2212 exact of twin" in text) == (len(shape) == 1)
