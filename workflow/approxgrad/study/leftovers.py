"""Files of other configurations in the folder of a study, which programs that read whole folders mix in."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from approxgrad.storage.table_checks import TableError
from approxgrad.storage.table_file import TableFile
from approxgrad.study.judged import moved_cells

if TYPE_CHECKING:
    from approxgrad.study.study import Study

FOLDER = re.compile(r"[a-z]+=[A-Za-z0-9_.+-]+")
FILE = re.compile(
    r"part-0\.parquet|shard-\d+-of-\d+\.parquet|weights\.safetensors|model\.[a-z0-9]+|[a-z0-9_]+\.(svg|png|pdf|csv)"
)
"""Folders and files of this workflow's layout; others are never touched."""

BY_PATH = ("attributions", "gradients", "sensitivity", "shards", "spectra", "steps")
"""Folders of results of which a study knows every file."""

BY_KEYS = (
    *("completeness", "error_parts", "faithfulness", "figures"),
    *("learning_curves", "metrics", "models", "test_metrics"),
)
"""Folders whose files belong to a study if it has the data set, model and method in their paths."""

PARTS = ("train.parquet", "validation.parquet", "test.parquet")


def leftovers(study: Study) -> list[Path]:
    """Return the files in the working directory that this workflow made for other configurations, sorted.

    They are results of cells that the study does not have, and prepared data sets that it does not use. Links are not
    followed. Downloads and files that are not part of the workflow's layout are left out.
    """
    made = {cell.path for cell in study.cells} | {path for cell in study.evaluating for path in cell.jobs}
    made |= {*study.gradients, *study.choices, *study.spectra, *moved_cells(study)}
    # What several models share stands under the name of their twin.
    twins = [(dataset, study.twin(model) or model, method) for dataset, model, method in study.comparisons]
    keys = {names[:number] for names in [*study.models, *study.comparisons, *twins] for number in (1, 2, 3)}
    found = [path for path in _files(BY_PATH) if path.as_posix() not in made]
    found += [path for path in _files(BY_KEYS) if _values(path) not in keys or _was_another_form(path, study)]
    return sorted([*found, *_unused_data(study)])


def remove(paths: Iterable[Path | str]) -> Counter[str]:
    """Remove files and the folders that this leaves empty; return the number of files for each folder of results."""
    removed: Counter[str] = Counter()
    for path in map(Path, paths):
        path.unlink(missing_ok=True)
        removed["/".join(path.parts[: 1 if path.parts[0] == "data" else 2])] += 1
        for folder in list(path.parents)[:-2]:
            if any(folder.iterdir()):
                break
            folder.rmdir()
    return removed


def _files(folders: Iterable[str]) -> Iterator[Path]:
    """Yield the files of the workflow's layout in some folders of results."""
    tops = [Path("results", name) for name in folders]
    if Path("results").is_symlink():
        return
    for folder, _, names in (entry for top in tops if not top.is_symlink() for entry in os.walk(top)):
        levels = [part for part in Path(folder).parts[2:] if part not in BY_PATH]
        if levels and all(map(FOLDER.fullmatch, levels)):
            paths = (Path(folder, name) for name in names if FILE.fullmatch(name))
            yield from (path for path in paths if not path.is_symlink())


def _was_another_form(path: Path, study: Study) -> bool:
    """Return whether a file was made of a model that is now made as a file of another name."""
    names = _values(path)
    return path.parts[1] == "models" and len(names) == 2 and path.as_posix() != study.model_file(*names)


def _values(path: Path) -> tuple[str, ...]:
    """Return the data set, model and method in a path, as far as it has them."""
    return tuple(part.partition("=")[2] for part in path.parts[2:-1])


def _unused_data(study: Study) -> Iterator[Path]:
    """Yield prepared parts of data sets that the study does not use, unless it reads them as a source."""
    sources = {str(source) for name in study.datasets for source in study.dataset(name).sources(name)}
    folders = [] if Path("data").is_symlink() else Path("data").glob("*/")
    for folder in folders:
        for path in (folder / part for part in PARTS):
            known = folder.name in study.datasets or str(path) in sources or folder.is_symlink() or path.is_symlink()
            if not known and path.is_file() and _is_ours(path):
                yield path


def _is_ours(path: Path) -> bool:
    try:
        return "normalisation" in TableFile(path).metadata
    except TableError:
        return False
