"""The cells of a study: their keys, files and jobs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from approxgrad.gradients.source import Source
from approxgrad.study.shards import WHOLE, Shard, shard_name

ATTRIBUTIONS = "results/attributions/dataset={dataset}/model={model}/method={method}/gradient={gradient}/part-0.parquet"
"""Path of one cell; its folders are the key columns of the table that all files form."""

GRADIENTS = "results/gradients/dataset={dataset}/model={model}/samples={samples}/gradient={gradient}/part-0.parquet"
"""Path of the gradients that all methods share which are a function of the gradient."""

SHARDS = "results/shards"
"""Folder of the shards, elsewhere than the whole, so that readers of a folder of cells never see a part of one."""


def shards_of(template: str) -> str:
    """Return the paths of the shards of files with some paths."""
    return template.replace("results", SHARDS, 1).replace("part-0", "shard-{shard}")


@dataclass(frozen=True)
class Cell:
    """A data set, model, method and gradient source, the number of test rows and that of shards, each of them a job."""

    template: ClassVar[str] = ATTRIBUTIONS

    dataset: str
    model: str
    method: str
    gradient: Source
    samples: int
    shards: int = 1

    @property
    def keys(self) -> dict[str, str]:
        """The names that stand in paths."""
        return {"dataset": self.dataset, "model": self.model, "method": self.method, "gradient": self.gradient.name}

    @property
    def path(self) -> str:
        """Path of the file."""
        return self.template.format(**self.keys)

    @property
    def jobs(self) -> dict[str, Shard]:
        """The files of the jobs that evaluate the model, and what share of the samples each of them has."""
        if self.shards == 1:
            return {self.path: WHOLE}
        template = shards_of(self.template)
        shards = [(number, self.shards) for number in range(1, self.shards + 1)]
        return {template.format(**self.keys, shard=shard_name(shard)): shard for shard in shards}

    @property
    def shard_names(self) -> list[str]:
        """Names of the shards; none if the cell is not cut."""
        return [shard_name(shard) for shard in self.jobs.values() if self.shards > 1]

    @property
    def shard_paths(self) -> list[str]:
        """Paths of the shards; none if the cell is not cut."""
        return [path for path in self.jobs if self.shards > 1]


@dataclass(frozen=True)
class SharedGradient(Cell):
    """The gradients at some test rows, which methods that are functions of the gradient have in common."""

    template: ClassVar[str] = GRADIENTS

    @property
    def keys(self) -> dict[str, str]:
        """The names that stand in paths."""
        own = {"dataset": self.dataset, "model": self.model, "samples": str(self.samples)}
        return own | {"gradient": self.gradient.name}


def remove_gathered_shards() -> None:
    """Remove the shards that a run has gathered and was killed before it could remove them."""
    for folder in Path(SHARDS).glob("*/*/*/*/*"):
        gathered = Path("results", *folder.relative_to(SHARDS).parts, "part-0.parquet")
        shards = [path.stat().st_mtime_ns for path in folder.iterdir()]
        if gathered.exists() and gathered.stat().st_mtime_ns > max(shards, default=0):
            shutil.rmtree(folder)


def keys_pattern(cells: Iterable[Cell]) -> str:
    """Return a regular expression that fits just the folders of some cells of one sort, without the first ``KEY=``.

    It has a branch for each folder, so that a path is found among many cells as fast as among few.
    """
    tree: dict[str, Any] = {}
    keys: list[str] = []
    for cell in cells:
        branch = tree
        keys = list(cell.keys)
        for name in cell.keys.values():
            branch = branch.setdefault(name, {})
    return _pattern(tree, keys[1:])


def _pattern(tree: dict[str, Any], keys: Sequence[str]) -> str:
    rests = ((name, f"/{keys[0]}={_pattern(branch, keys[1:])}" if branch else "") for name, branch in tree.items())
    return f"(?:{'|'.join(re.escape(name) + rest for name, rest in rests) or '(?!)'})"
