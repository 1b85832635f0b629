"""The cells of a study: their keys, files and jobs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from approxgrad.study.shards import WHOLE, Shard, shard_name
from approxgrad.study.sources import GradientSource

ATTRIBUTIONS = "results/attributions/dataset={dataset}/model={model}/method={method}/gradient={gradient}/part-0.parquet"
"""Path of one cell; its folders are the key columns of the table that all files form."""

SHARDS = "results/shards/dataset={dataset}/model={model}/method={method}/gradient={gradient}/shard-{shard}.parquet"
"""Path of one shard of a cell; it lies elsewhere, so that who reads the folder of cells never sees a part of one."""


@dataclass(frozen=True)
class Cell:
    """A data set, model, method and gradient source, the number of test rows and that of shards, each of them a job."""

    dataset: str
    model: str
    method: str
    gradient: GradientSource
    samples: int
    shards: int = 1

    @property
    def keys(self) -> dict[str, str]:
        """The names that stand in paths."""
        return {"dataset": self.dataset, "model": self.model, "method": self.method, "gradient": self.gradient.name}

    @property
    def path(self) -> str:
        """Path of the attribution file."""
        return ATTRIBUTIONS.format(**self.keys)

    @property
    def jobs(self) -> dict[str, Shard]:
        """The files of the jobs that attribute, and what share of the samples each of them has."""
        if self.shards == 1:
            return {self.path: WHOLE}
        shards = [(number, self.shards) for number in range(1, self.shards + 1)]
        return {SHARDS.format(**self.keys, shard=shard_name(shard)): shard for shard in shards}

    @property
    def shard_names(self) -> list[str]:
        """Names of the shards; none if the cell is not cut."""
        return [shard_name(shard) for shard in self.jobs.values() if self.shards > 1]

    @property
    def shard_paths(self) -> list[str]:
        """Paths of the shards; none if the cell is not cut."""
        return [path for path in self.jobs if self.shards > 1]


def remove_gathered_shards() -> None:
    """Remove the shards that a run has gathered and was killed before it could remove them."""
    for folder in Path("results/shards").glob("*/*/*/*"):
        gathered = Path("results/attributions", *folder.parts[2:], "part-0.parquet")
        shards = [path.stat().st_mtime_ns for path in folder.iterdir()]
        if gathered.exists() and gathered.stat().st_mtime_ns > max(shards, default=0):
            shutil.rmtree(folder)


def keys_pattern(cells: Iterable[Cell]) -> str:
    """Return a regular expression that fits just ``DATASET/model=.../method=.../gradient=...`` of some cells.

    It has a branch for each folder, so that a path is found among many cells as fast as among few.
    """
    tree: dict[str, Any] = {}
    for cell in cells:
        branch = tree
        for name in cell.keys.values():
            branch = branch.setdefault(name, {})
    return _pattern(tree, ["model", "method", "gradient"])


def _pattern(tree: dict[str, Any], keys: Sequence[str]) -> str:
    rests = ((name, f"/{keys[0]}={_pattern(branch, keys[1:])}" if branch else "") for name, branch in tree.items())
    return f"(?:{'|'.join(re.escape(name) + rest for name, rest in rests) or '(?!)'})"
