"""Large files are written and read in pieces: the results are the same, and little is in memory at once."""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from approxgrad.evaluation.completeness import residuals_table
from approxgrad.evaluation.frames import ranges_table
from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.figures.triples import SAMPLES, map_numbers, read_columns
from approxgrad.report.explorer import MOST_SAMPLES, read_comparison
from approxgrad.storage import row_groups
from approxgrad.storage.attributions import Attributions, read_attributions, write_attributions
from approxgrad.storage.row_groups import GROUP_BYTES
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import write_table

COLUMNS = ("sample", "attribution", "inputs", "target", "truth", "output", "baseline_output")


def attributions(sample, seed, features=12, step=None, truth=True, target=True):
    """Random maps of given samples, of a grey picture; input and truth are the same in every file."""
    rows, own, shared = len(sample), np.random.default_rng([seed, 1]), np.random.default_rng(99)
    whole = shared.normal(size=(2, 1000, features)).astype(np.float32)
    metadata = {
        "gradient": "exact" if step is None else f"forward-h{step}",
        "family": "exact" if step is None else "forward",
        "setting": step,
        "setting_name": "" if step is None else "step",
        "chosen": False,
        "dtype": "float32",
        "evaluations": 1 if step is None else features + 1,
        "feature_shape": [1, 3, features // 3],
        "normalisation": {"mean": [0.0], "std": [1.0]},
        "method": {"attribution": "integrated_gradients"},
        "signed": True,
    }
    return Attributions(
        sample=np.array(sample),
        attribution=own.normal(size=(rows, features)),
        inputs=whole[0, sample],
        target=np.array(sample) % 3 if target else None,
        truth=whole[1, sample] if truth else None,
        metadata=metadata,
        output=own.normal(size=rows),
        baseline_output=own.normal(size=rows),
    )


def written(folder, results, rows=None):
    """Paths of attribution files, in row groups of so many rows, or in one each."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.parquet" for number in range(len(results))]
    for path, result in zip(paths, results, strict=True):
        write_attributions(path, result)
        if rows is not None:
            table = pq.read_table(path)
            pq.write_table(table, path, row_group_size=rows)
    return paths


SAMPLES_OF = [list(range(40, 70)), list(range(69, 44, -1)), [50, 41, 68, 45, 60]]


@pytest.fixture(params=[1, 4, 7, 30])
def both(request, tmp_path):
    """The same exact and approximated attributions in one piece and in many; samples in other orders."""
    results = [attributions(SAMPLES_OF[0], 0)]
    results += [attributions(sample, seed, step=0.1 * seed) for seed, sample in enumerate(SAMPLES_OF, start=1)]
    # Files need not be cut alike.
    whole, pieces = written(tmp_path / "whole", results), written(tmp_path / "pieces", results, request.param)
    pq.write_table(pq.read_table(pieces[0]), pieces[0], row_group_size=5)
    assert pq.ParquetFile(whole[0]).num_row_groups == 1
    assert pq.ParquetFile(pieces[0]).num_row_groups == 6
    return whole, pieces


def test_pieces_have_the_results_of_the_whole_to_the_last_digit(both):
    whole, pieces = both
    for function in (
        lambda paths: evaluate_method(paths[:1], paths[1:]),
        lambda paths: residuals_table({"attributions": paths}, {"methods": ["ig"] * len(paths)}),
        lambda paths: pa.Table.from_pandas(ranges_table({"exact": paths[:2]}, {"cells": [("d", "m", "a")] * 2})[0]),
        lambda paths: pa.Table.from_pandas(
            map_numbers(read_columns(["a", "b"], paths[1:3], [paths[0]] * 2), {"dataset": "d", "model": "m"})
        ),
    ):
        assert function(pieces).equals(function(whole))


def test_pictures_show_the_first_samples_that_all_files_have(both):
    _, pieces = both
    columns = read_columns(["a", "b"], [pieces[3], pieces[2]], [pieces[0]] * 2)
    assert [result.sample.tolist() for _, *pair in columns for result in pair] == [[50, 68, 45]] * 4
    assert SAMPLES == 3
    with pytest.raises(ValueError, match="the attributions have no sample in common"):
        read_columns(["a"], pieces[1:2], written(pieces[0].parent / "other", [attributions([1, 2], 0)]))


@pytest.mark.parametrize("rows", [slice(None), slice(3), [29, 0, 7, 7], [4], range(10, 20)])
def test_chosen_rows_come_in_the_order_in_which_they_are_asked_for(both, rows):
    found, result = read_attributions(both[1][0], rows), attributions(SAMPLES_OF[0], 0)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), getattr(result, name)[rows])


def test_no_more_is_read_than_what_is_shown(both, monkeypatch):
    read = []
    original = pq.ParquetFile.read_row_group
    spy = lambda file, number, **options: read.append(number) or original(file, number, **options)  # noqa: E731
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    _, pieces = both
    read_columns(["a"], pieces[1:2], pieces[:1])
    assert set(read) <= {0, 1, 2}
    size = pq.ParquetFile(pieces[1]).metadata.row_group(0).num_rows
    assert len(read) <= 1 + -(-SAMPLES // size)
    read.clear()
    write_table(pieces[0].with_name("metrics.parquet"), evaluate_method(pieces[:1], pieces[1:2]), {})
    read.clear()
    looks = {"labels": {}, "families": {}, "is_image": True}
    comparison = read_comparison(
        ["d", "m", "a"], pieces[0].with_name("metrics.parquet"), pieces[0], pieces[1:2], **looks
    )
    assert len(comparison.exact.sample) == MOST_SAMPLES
    assert len(read) == -(-MOST_SAMPLES // 5) + -(-MOST_SAMPLES // size)


def test_row_groups_are_of_bounded_size_and_at_least_a_row(tmp_path, monkeypatch):
    result = attributions(range(100), 0)
    path = tmp_path / "a.parquet"
    row_bytes = (8 + 4 + 4) * 12  # maps, inputs and truth
    for limit, most in ((GROUP_BYTES, 100), (20 * row_bytes, 20), (1, 1)):
        monkeypatch.setattr(row_groups, "GROUP_BYTES", limit)
        write_attributions(path, result)
        metadata = pq.read_metadata(path)
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        assert sum(sizes) == 100
        assert max(sizes) == most
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(read_attributions(path), name), getattr(result, name))


def test_pixels_are_kept_as_a_dictionary_and_maps_are_not(tmp_path):
    result = attributions(range(200), seed=0)
    pixels = np.random.default_rng(0).integers(0, 4, result.inputs.shape).astype(np.float32)
    write_attributions(tmp_path / "a.parquet", dataclasses.replace(result, inputs=pixels))
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["attribution.list.element"].encodings
    assert not columns["attribution.list.element"].has_dictionary_page
    # Two bits for each of four values.
    assert columns["input.list.element"].total_uncompressed_size < pixels.size


def test_a_truth_that_only_some_rows_have_is_refused(tmp_path):
    paths = written(tmp_path, [attributions(range(4), 0), attributions(range(4), 1, step=0.5)], 2)
    table = pq.read_table(paths[1])
    rows = table["truth"].to_pylist()
    for holes in ([None, None, *rows[2:]], [*rows[:3], None]):
        place = table.column_names.index("truth")
        broken = table.set_column(place, "truth", pa.array(holes, pa.list_(pa.float32())))
        pq.write_table(broken, paths[1], row_group_size=2)
        with pytest.raises(TableError, match=r"1\.parquet: column truth does not hold lists of one length"):
            evaluate_method(paths[:1], paths[1:])


@pytest.mark.parametrize(
    "read",
    [
        lambda path: evaluate_method([path], [path]),
        lambda path: residuals_table({"attributions": [path]}, {"methods": ["ig"]}),
        lambda path: ranges_table({"exact": [path]}, {"cells": [("d", "m", "a")]}),
    ],
)
def test_a_file_without_rows_and_a_damaged_one_are_named(tmp_path, read):
    (path,) = written(tmp_path, [attributions(range(8), 0)], 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"0\.parquet: cannot be read as parquet"):
        read(path)
    table = pq.read_table(written(tmp_path, [attributions(range(8), 0)])[0])
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(TableError, match=r"0\.parquet: "):
        read(path)


# Round trips


@st.composite
def files(draw):
    rows, features = draw(st.integers(1, 12)), 3 * draw(st.integers(1, 4))
    sample = draw(st.permutations(range(20)))[:rows]
    options = {name: draw(st.booleans()) for name in ("truth", "target")}
    result = attributions(sample, draw(st.integers(0, 99)), features, draw(st.none() | st.just(0.5)), **options)
    dtype, scale = draw(st.sampled_from([np.float32, np.float64])), draw(st.sampled_from([1e-30, 1.0, 1e30]))
    special = draw(st.sampled_from([0.0, -0.0, 1.0]))
    maps = (scale * result.attribution * (np.random.default_rng(rows).random(result.attribution.shape) < 0.7)).astype(
        dtype
    )
    maps[0, 0] = special
    changed = {name: getattr(result, name) for name in COLUMNS} | {"attribution": maps}
    if draw(st.booleans()):
        changed |= {"output": None, "baseline_output": None}
    return Attributions(**changed, metadata=result.metadata)


@given(files(), st.integers(1, 5000), st.data())
def test_attributions_come_back_bit_for_bit(result, limit, data):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setattr(row_groups, "GROUP_BYTES", limit)
        folder = Path(name) / "dataset=digits" / "gradient=forward-h0.1"
        write_attributions(folder / "part-0.parquet", result)
        found = read_attributions(folder / "part-0.parquet")
        chosen = data.draw(st.lists(st.integers(0, len(result.sample) - 1), min_size=1, max_size=5))
        part = read_attributions(folder / "part-0.parquet", chosen)
        for field in COLUMNS:
            expected = getattr(result, field)
            assert (getattr(found, field) is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(getattr(found, field), expected)
                np.testing.assert_array_equal(getattr(part, field), expected[chosen])
        assert np.signbit(found.attribution).tolist() == np.signbit(result.attribution).tolist()
        assert found.metadata == result.metadata
        # What others see of the folder.
        frame = pd.read_parquet(name)
        assert pa.Table.from_pandas(frame)["sample"].equals(pq.read_table(name)["sample"])
        assert (frame["dataset"] == "digits").all()
        assert (frame["gradient"] == "forward-h0.1").all()
        np.testing.assert_array_equal(np.stack(frame["attribution"]), result.attribution)
        np.testing.assert_array_equal(np.stack(frame["input"]), result.inputs)
        assert frame["truth"].isna().all() == (result.truth is None)
        assert frame["target"].isna().all() == (result.target is None)


# Memory

CHILD = """
import re, sys
from pathlib import Path
from approxgrad.evaluation import completeness, frames, metric_tables
from approxgrad.figures import triples
from approxgrad.report import explorer
from approxgrad.storage.tables import write_table
task, folder = sys.argv[1], Path(sys.argv[2])
paths = [folder / f"{number}.parquet" for number in range(3)]
exact, approximated, table = paths[:1], paths[1:], folder / "metrics.parquet"
# Not getrusage: its maximum is not below what the process that started this one had.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
if task == "evaluate":
    write_table(table, metric_tables.evaluate_method(exact, approximated), {})
elif task == "completeness":
    completeness.residuals_table({"attributions": paths}, {"methods": ["ig"] * 3})
elif task == "ranges":
    frames.ranges_table({"exact": exact}, {"cells": [("d", "m", "a")]})
elif task == "maps":
    triples.map_numbers(triples.read_columns(["a", "b"], approximated, exact * 2), {"dataset": "d", "model": "m"})
else:
    looks = {"labels": dict.fromkeys(("dataset", "model", "method"), "x"), "is_image": True}
    looks["families"] = {"forward": {"label": "forward", "symbol": "h", "setting_name": "step", "settings": [0.1]}}
    item = explorer.read_comparison(["d", "m", "a"], table, exact[0], approximated, **looks)
    explorer.chart_data(item, explorer.limits([item]))
print(peak() - before)
"""
TASKS = ["evaluate", "completeness", "ranges", "maps", "explorer"]
LARGEST = 200
"""MiB above what the imports take."""


@pytest.mark.soak
def test_memory_does_not_grow_with_the_samples(tmp_path):
    peaks = {}
    for rows in (500, 5000):
        generator, folder = np.random.default_rng(0), tmp_path / str(rows)
        inputs = generator.normal(size=(rows, 3072)).astype(np.float32)
        for number, step in enumerate((None, 0.1, 0.01)):
            described = attributions([0], 0, step=step).metadata | {"feature_shape": [3, 32, 32]}
            described["normalisation"] = {"mean": [0.0] * 3, "std": [1.0] * 3}
            maps = generator.normal(size=inputs.shape)
            ends = np.ones(rows), np.zeros(rows)
            result = Attributions(np.arange(rows), maps, inputs, np.zeros(rows, int), None, described, *ends)
            write_attributions(folder / f"{number}.parquet", result)
        for task in TASKS:
            command = [sys.executable, "-c", CHILD, task, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[task, rows] = float(done.stdout)
    print({task: (round(peaks[task, 500]), round(peaks[task, 5000])) for task in TASKS})
    for task in TASKS:
        # Ten times the samples: 370 MB more of maps and inputs in each file.
        assert peaks[task, 5000] < LARGEST
        assert peaks[task, 5000] < peaks[task, 500] + 50
