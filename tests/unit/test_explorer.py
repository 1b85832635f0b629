import base64
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.evaluation.metrics import METRICS
from approxgrad.report.explorer import MOST_POINTS, MOST_SAMPLES, Comparison, explorer_data, limits, read_comparisons
from approxgrad.report.explorer_page import explorer_page
from approxgrad.storage.tables import Attributions, TableError, write_attributions, write_table

CHROMIUM_LIMIT = 2 * 2**20
STEPS = (0.5, 10.0, 2.0)


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
        "scheme": "exact" if step is None else "forward",
        "step": step,
        "dtype": "float32",
    }
    target = np.arange(samples) % 3 if len(shape) == 3 else None
    return Attributions(np.arange(first, first + samples), maps, inputs, target, effects if truth else None, metadata)


def comparison(tmp_path, shape, *, steps=STEPS, names=("data", "net", "saliency"), **options):
    """A comparison as it is read from the files of a run, and the attributions in them, the exact one first."""
    results = [attributions(shape, **options), *(attributions(shape, step, **options) for step in steps)]
    paths = [tmp_path / f"{number}.parquet" for number in range(len(results))]
    for path, result in zip(paths, results, strict=True):
        write_attributions(path, result)
    metrics = evaluate_method(paths[:1], paths[1:])
    table = tmp_path / "metrics.parquet"
    write_table(table, metrics, {})
    (read,) = read_comparisons([names], [table], [paths[0]], [paths[1:]])
    return read, results


def unpacked(packed, bytes_per_value, row):
    values = np.frombuffer(base64.b64decode(packed["values"]), {1: "i1", 2: "<i2"}[bytes_per_value])
    return values.reshape(len(packed["scales"]), -1)[row] * packed["scales"][row]


def test_boxes_are_over_all_rows_and_points_in_the_order_of_the_samples(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=150, truth=True)
    (data,) = explorer_data([item])["comparisons"]
    assert data["samples"] == list(range(100, 100 + MOST_POINTS))
    assert len(data["jitter"]) == MOST_POINTS
    assert [entry["source"] for entry in data["references"]["truth"]] == [
        "exact",
        "forward, h = 0.5",
        "forward, h = 2",
        "forward, h = 10",
    ]
    for entry in data["references"]["exact"]:
        step = float(entry["source"].split("= ")[1])
        rows = item.metrics[(item.metrics["reference"] == "exact") & (item.metrics["step"] == step)]
        assert entry["rows"] == 150
        for metric in METRICS:
            values = rows.set_index("sample")[metric].astype(float)
            box = entry["boxes"][metric]
            assert box["n"] == values.count()
            quantiles = values.quantile([0.05, 0.25, 0.5, 0.75, 0.95])
            # Six significant digits.
            np.testing.assert_allclose(
                [box[k] for k in ("low", "lower", "median", "upper", "high")], quantiles, rtol=5e-6
            )
            expected = values.loc[data["samples"]].to_numpy()
            np.testing.assert_allclose(np.array(entry["points"][metric], float), expected, rtol=5e-6)


def test_the_nearest_source_is_found_before_numbers_are_rounded(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=4)
    # Correlations that are 1 with six digits, two errors that are equally small, and no cosine.
    for step, near, far in ((0.5, 1 - 2e-9, 2e-9), (2.0, 1 - 1e-9, 1e-9), (10.0, 1 - 3e-9, 1e-9)):
        own = item.metrics["step"] == step
        item.metrics.loc[own, ["pearson", "relative_error", "cosine"]] = [near, far, None]
    entries = explorer_data([item])["comparisons"][0]["references"]["exact"]
    marked = {
        metric: [entry["source"] for entry in entries if entry["boxes"][metric].get("nearest")]
        for metric in ("pearson", "relative_error", "cosine")
    }
    assert marked == {
        "pearson": ["forward, h = 2"],
        "relative_error": ["forward, h = 2", "forward, h = 10"],
        "cosine": [],
    }


def test_undefined_measures_are_left_out_of_boxes_and_points(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=4)
    item.metrics.loc[(item.metrics["step"] == 2) & (item.metrics["sample"] == 101), "pearson"] = None
    item.metrics.loc[item.metrics["step"] == 10, "pearson"] = None
    entries = {entry["source"]: entry for entry in explorer_data([item])["comparisons"][0]["references"]["exact"]}
    assert entries["forward, h = 2"]["boxes"]["pearson"]["n"] == 3
    assert entries["forward, h = 2"]["points"]["pearson"][1] is None
    assert entries["forward, h = 10"]["boxes"]["pearson"] == {"n": 0}
    assert json.dumps(entries, allow_nan=False)


@pytest.mark.parametrize("shape", [(5,), (1, 4, 6), (3, 4, 6)], ids=["table", "grey", "colour"])
def test_maps_come_back_within_the_rounding_of_their_integers(tmp_path, shape):
    item, (exact, *approximated) = comparison(tmp_path, shape, truth=len(shape) == 1)
    (data,) = explorer_data([item])["comparisons"]
    maps = data["maps"]
    assert data["sources"] == ["forward, h = 0.5", "forward, h = 10", "forward, h = 2"]
    assert maps["samples"] == list(range(100, 100 + MOST_SAMPLES))
    assert maps["shape"] == list(shape[-2:])
    assert maps["targets"] == (None if len(shape) == 1 else [row % 3 for row in range(MOST_SAMPLES)])
    half = 0.5 / {1: 127, 2: 32767}[maps["bytes"]] + 1e-6

    def summed(values):
        channels = values.astype(float).reshape(shape if len(shape) == 3 else (1, -1))
        return channels.sum(axis=0).ravel()

    for row in (0, MOST_SAMPLES - 1):
        wanted = summed(exact.attribution[row])
        found = unpacked(maps["exact"], maps["bytes"], row)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=half * np.abs(wanted).max())
        for packed, result in zip(maps["differences"], approximated, strict=True):
            difference = summed(result.attribution[row]) - wanted
            atol = half * np.abs(difference).max()
            np.testing.assert_allclose(unpacked(packed, maps["bytes"], row), difference, rtol=0, atol=atol)
        inputs = exact.inputs[row].astype(float)
        if len(shape) == 3:
            inputs = np.moveaxis(np.clip(inputs.reshape(shape) * 0.25 + 0.5, 0, 1), 0, -1).ravel()
        atol = half * np.abs(inputs).max()
        np.testing.assert_allclose(unpacked(maps["inputs"], maps["bytes"], row), inputs, rtol=0, atol=atol)


def test_large_maps_are_coarsened_to_the_means_of_blocks(tmp_path):
    item, (exact, *_) = comparison(tmp_path, (1, 50, 100), steps=[1.0], samples=1)
    maps = explorer_data([item])["comparisons"][0]["maps"]
    assert maps["coarsened"]
    assert maps["shape"] == [17, 34]
    pixels = exact.attribution[0].reshape(50, 100)
    found = unpacked(maps["exact"], 1, 0).reshape(17, 34)
    atol = 0.51 / 127 * np.abs(found).max()
    np.testing.assert_allclose(found[3, 5], pixels[9:12, 15:18].mean(), rtol=0, atol=atol)
    np.testing.assert_allclose(found[16, 33], pixels[48:, 99:].mean(), rtol=0, atol=atol)


def test_the_page_stays_below_what_chromium_opens_inside_a_report(tmp_path):
    steps = [0.1 * number for number in range(1, 11)]
    item, _ = comparison(tmp_path, (3, 96, 96), steps=steps, samples=MOST_SAMPLES)
    assert limits([item] * 2).samples > limits([item] * 4).samples
    html = explorer_page(explorer_data([item] * 40))
    # As the report holds it: in base64, after a short header.
    assert 4 / 3 * len(html.encode()) + 100 < CHROMIUM_LIMIT


def test_attributions_without_a_common_sample_are_refused(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=4)
    other = attributions((5,), 1.0, samples=4, first=500)
    broken = Comparison(item.dataset, item.model, item.method, item.metrics, item.exact, [*item.approximated, other])
    with pytest.raises(TableError, match="data, net, saliency: the attributions have no sample in common"):
        explorer_data([broken])


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
    item, _ = comparison(tmp_path, (1, 4, 6), names=("</script>", "cnn", "saliency"))
    data = explorer_data([item])
    html = explorer_page(data)
    assert html == explorer_page(data)
    assert "{{" not in re.sub("<script>.*?</script>", "", html, flags=re.DOTALL)
    parsed = Addresses()
    parsed.feed(html)
    assert not parsed.loaded
    assert "default-src 'none'" in html
    held = json.loads(gzip.decompress(base64.b64decode(parsed.texts["data"])))
    assert held["comparisons"] == json.loads(json.dumps(data["comparisons"]))
    assert not any("http" in json.dumps(chart) for chart in held["charts"].values())
    library = gzip.decompress(base64.b64decode(parsed.texts["library"])).decode()
    assert "window.vegaEmbed" in library


def test_reading_keeps_only_the_samples_there_may_be_room_for(tmp_path):
    item, _ = comparison(tmp_path, (5,), samples=30)
    assert len(item.exact.sample) == len(item.approximated[0].attribution) == MOST_SAMPLES
    assert isinstance(item.metrics, pd.DataFrame)
