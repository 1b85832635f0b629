import re
from html import unescape
from pathlib import Path

import numpy as np
import yaml

from approxgrad.report.run_record import Benchmark, computed_with, read_benchmarks, run_page, run_times
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.study.study import Study

CONFIG = Path(__file__).resolve().parents[3] / "config" / "config.yaml"
HEADER = "s\th:m:s\tmax_rss\tcpu_time\n"


def attributions(path, device):
    values = np.zeros((2, 3), np.float32)
    metadata = {
        "family": "exact",
        "setting": None,
        "setting_name": "",
        "chosen": False,
        "dtype": "float32",
        "evaluations": 1,
        "device": device,
        "threads": 1,
        "versions": {"torch": "2", "numpy": "1"},
    }
    write_attributions(path, Attributions(np.arange(2), values, values, None, None, metadata))
    return path


def test_records_are_those_of_the_study(tmp_path):
    for name, line in {
        "summarise.tsv": "2.5\t0:00:02\t100.5\t2\n",
        "attribute/digits/cnn/saliency/forward-h0.01.tsv": "1.5\t0:00:01\tNA\tNA\n",
        "attribute/digits/cnn/saliency/forward-h0.7.tsv": "9\t0:00:09\t1\t1\n",
        "attribute/old/cnn/saliency/exact.tsv": "9\t0:00:09\t1\t1\n",
        "attribute/digits/cnn/saliency/exact.tsv": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(HEADER + line)
    records = read_benchmarks(tmp_path, ["digits", "cnn", "saliency", "exact", "forward-h0.01"])
    assert records == [Benchmark("attribute", 1.5, None), Benchmark("summarise", 2.5, 100.5)]
    assert read_benchmarks(tmp_path / "nothing", []) == []


def test_run_times_add_up():
    records = [Benchmark("a", 1.0, 10), Benchmark("b", 3.0, None), Benchmark("a", 5.0, 30), Benchmark("a", 2.0, None)]
    assert run_times(records).rows == [
        ["a", "3", "8.0", "2.0", "5.0", "30"],
        ["b", "1", "3.0", "3.0", "3.0", "unknown"],
        ["all", "4", "11.0", "", "", ""],
    ]
    assert run_times([]).rows == []


def test_files_are_counted_by_what_they_were_computed_with(tmp_path):
    paths = [
        attributions(tmp_path / f"{number}.parquet", device) for number, device in enumerate(["cpu", "gpu", "cpu"])
    ]
    assert computed_with(paths).rows == [["2", "cpu", "1", "numpy 1, torch 2"], ["1", "gpu", "1", "numpy 1, torch 2"]]


def test_the_configuration_on_the_page_is_that_of_the_run(tmp_path):
    config = Study(yaml.safe_load(CONFIG.read_text())).document
    html = run_page([Benchmark("attribute", 1.0, 1.0)], [attributions(tmp_path / "a.parquet", "cpu")], config)
    text = unescape(re.search("<pre[^>]*>(.*)</pre>", html, re.DOTALL)[1])
    assert Study(yaml.safe_load(text)).document == config
    assert all(f">{name}<" in html for name in ("approxgrad", "torch", "snakemake", "attribute"))
