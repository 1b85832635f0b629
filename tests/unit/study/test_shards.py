import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from approxgrad.gradients.source import exact_source
from approxgrad.storage import row_groups
from approxgrad.storage.attributions import read_attributions, write_attributions
from approxgrad.storage.splits import Split, write_split
from approxgrad.storage.step_tables import write_choice
from approxgrad.storage.tables import lists
from approxgrad.study import cells, shards
from approxgrad.study.cells import attribute_cell
from approxgrad.study.grid import Cell, keys_pattern
from approxgrad.study.shards import gather, merged, named_shard, shard_blocks, shard_count, shard_name
from small_cells import saved_perceptron
from small_studies import source

FEATURES, SAMPLES = 5, 11


@pytest.fixture
def files(tmp_path):
    """Weights and test split of a classification with known effects."""
    random = np.random.default_rng(1)
    features = random.normal(size=(30, FEATURES)).astype(np.float32)
    labels = random.integers(0, 2, 30)
    data = Split(features, labels, features / 2, feature_shape=(FEATURES,), classes=("a", "b"))
    write_split(tmp_path / "test", data, {})
    own = saved_perceptron(tmp_path, FEATURES, outputs=2, dropout=0.0)
    return own | {"test": tmp_path / "test", "training": None}


@dataclass
class Chosen:
    """A stand-in of approxgrad.steps.choice.StepChoice."""

    step: float
    scheme: str


def attributed(files, path, scheme="forward", shard=None, step=0.5, dtype="float32"):
    own = exact_source(dtype) if scheme == "exact" else source(step, dtype, scheme)
    options = {
        "gradient": own.entry,
        "method": {"attribution": "integrated_gradients", "baseline": "zero", "n_steps": 4},
    }
    options |= {"samples": SAMPLES, "sample_seed": 3, "memory_mib": None, "device": torch.device("cpu")}
    if step == "auto":
        options["choice"] = path.with_name("choice.parquet")
        write_choice(options["choice"], Chosen(0.25, scheme), {})
    result, _ = attribute_cell(**files, **options, shard=shard)
    write_attributions(path, result)
    return path


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize(
    ("scheme", "step", "dtype"),
    [("exact", None, "float64"), ("forward", 0.5, "float32"), ("central", "auto", "float32")],
)
def test_gathered_shards_are_the_file_of_the_whole_cell(files, tmp_path, monkeypatch, scheme, step, dtype, count):
    # Blocks of three samples, row groups of two.
    per_sample = {"exact": 4, "forward": 4 * 6, "central": 4 * 10}[scheme]
    monkeypatch.setattr(shards, "BLOCK_EVALUATIONS", 3 * per_sample)
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 2 * 16 * FEATURES)
    options = {"scheme": scheme, "step": step, "dtype": dtype}
    whole = attributed(files, tmp_path / "whole.parquet", **options)
    parts = [
        attributed(files, tmp_path / f"{number}.parquet", **options, shard=(number, count))
        for number in range(1, count + 1)
    ]
    metadata = gather(parts, tmp_path / "gathered.parquet")
    assert (tmp_path / "gathered.parquet").read_bytes() == whole.read_bytes()
    assert metadata == read_attributions(whole).metadata
    assert metadata["model_evaluations"] == SAMPLES * per_sample
    assert (metadata["rounding_scale"] is not None) == (scheme == "exact")
    assert pq.ParquetFile(whole).num_row_groups == 6


def test_every_block_is_attributed_by_itself(files, tmp_path, monkeypatch):
    sizes = []
    original = cells.attribute_with
    monkeypatch.setattr(
        cells, "attribute_with", lambda own, model, x, *a: sizes.append(len(x)) or original(own, model, x, *a)
    )
    monkeypatch.setattr(shards, "BLOCK_EVALUATIONS", 4 * 24)
    attributed(files, tmp_path / "whole.parquet")
    attributed(files, tmp_path / "part.parquet", shard=(2, 2))
    assert sizes == [4, 4, 3, 4, 3]


@pytest.mark.parametrize(
    ("asked", "samples", "per_sample", "count"),
    [
        ("auto", 300, 1200, 1),
        ("auto", 20, 50 * 3073, 3),
        ("auto", 20, None, 1),
        (8, 20, 50 * 3073, 8),
        (8, 5, 50 * 3073, 5),
        (8, 300, 1200, 6),
        (8, 20, None, 8),
        (8, 5, None, 5),
        (8, 300, 1, 1),
        (1, 300, 10**7, 1),
    ],
)
def test_shards_follow_from_the_cost_and_are_no_more_than_blocks(asked, samples, per_sample, count):
    assert shard_count(asked, samples, per_sample) == count


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_shards_are_runs_of_whole_blocks(count):
    whole = shard_blocks(100, 2**13)
    assert [block.stop - block.start for block in whole] == [8] * 12 + [4]
    cut = [shard_blocks(100, 2**13, (number, count)) for number in range(1, count + 1)]
    assert [block for part in cut for block in part] == whole
    sizes = [len(part) for part in cut]
    assert max(sizes) - min(sizes) <= 1


def test_names_tell_the_shard():
    assert named_shard(shard_name((3, 8))) == (3, 8)


@pytest.mark.parametrize("name", ["0-of-3", "4-of-3", "3", "1-of-", "a-of-3"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=f"^shard: got '{name}', expected a name such as 3-of-8$"):
        named_shard(name)


def document(**changes):
    own = {"setting": 0.5, "model_evaluations": 3, "batch_size": 8, "device": "A", "versions": {"torch": "1"}}
    return own | {"check_evaluations": 27, "lost_steps": 2, "rounding_ratios": [1.0, 2.0]} | changes


def test_metadata_of_shards_add_up():
    other = {
        "check_evaluations": 51,
        "lost_steps": 5,
        "batch_size": 4,
        "device": "B",
        "versions": {"torch": "2"},
        "rounding_ratios": [9.0, 3.0, 4.0],
    }
    assert merged([document(), document(**other), document(batch_size=None, rounding_ratios=[])]) == {
        "setting": 0.5,
        "model_evaluations": 9,
        "check_evaluations": 51,
        "lost_steps": 9,
        "batch_size": 4,
        "device": "A, B",
        "versions": {"torch": "1, 2"},
        "rounding_scale": 3.0,
    }


def test_shards_of_different_cells_are_refused():
    with pytest.raises(ValueError, match=r"^shards: setting differs between them \(0.5, 0.25\)$"):
        merged([document(), document(setting=0.25)])


def test_a_file_does_not_depend_on_how_its_rows_arrive(tmp_path):
    # Larger than a page, whose ends follow those of chunks.
    values = np.random.default_rng(0).normal(size=(3000, 100))
    table = pa.table({"row": pa.array(np.arange(3000)), "attribution": lists(values)})
    contents = []
    for cuts in ([0, 3000], [0, 1000, 3000], [0, 7, 7, 2999, 3000]):
        tables = [table.slice(start, stop - start) for start, stop in pairwise(cuts)]
        row_groups.write_row_groups(tmp_path / "file.parquet", table.schema, tables, 2900)
        contents.append((tmp_path / "file.parquet").read_bytes())
    assert contents[1:] == contents[:1] * 2
    assert pq.read_table(tmp_path / "file.parquet").equals(table)


def cell(dataset, model, method, step):
    return Cell(dataset, model, method, source(step), 5)


def test_a_pattern_fits_just_its_cells():
    cells = [cell("a", "m", "s", 0.1), cell("a", "m", "s", 1), cell("b", "n", "s", 0.1)]
    pattern = keys_pattern(cells)
    paths = [f"{d}/model={m}/method=s/gradient=forward-h{h}" for d in "ab" for m in "mn" for h in ("0.1", "1", "0x1")]
    fitting = [path for path in paths if re.fullmatch(pattern, path)]
    assert fitting == [paths[0], paths[1], paths[9]]
    assert not re.match(keys_pattern([]), "")
