"""The files of maps that others cached: which of them are compared, and which look as if they were of another model.

A file of another model is not seen from its agreement, because its exact maps are of that model too. But sizes of maps
tell: those of one model and method differ little between two draws of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from approxgrad.messages import one_line
from approxgrad.storage.cached_arrays import read_arrays
from approxgrad.storage.table_checks import TableError

OTHER_SCALE = 10.0
"""Ratio of sizes from which on maps are said to be of another scale."""

FEWEST_FILES = 3
"""Files of a method below which none can be told to be the odd one."""

LEFT_OUT = "left out: another file of this method and step has more maps"
ANOTHER = "maps of another scale, perhaps of another model"


def scales_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return every file of cached maps and what is to be said of it, for a rule.

    There is a row for each of the files ``arrays``, of which the parameter ``files`` holds ``source``, ``method``,
    ``step``, whether it is ``used``, and the ``names`` of its arrays. ``n`` maps have the ``size`` (median over them of
    the largest absolute exact value), and ``ratio`` is that over the median size of the source's files of the method.
    The ``remark`` says whether the file is left out, cannot be read, or has maps of another scale: larger or smaller
    than usual by at least the factor :data:`OTHER_SCALE`, where there are :data:`FEWEST_FILES`.
    """
    rows = []
    for path, file in zip(inputs["arrays"], params["files"], strict=True):
        own = {name: file[name] for name in ("source", "method", "step", "used")}
        rows.append({"file": Path(path).name, **own, **_measured(path, file["names"])})
    table = pd.DataFrame(rows, columns=["file", "source", "method", "step", "used", "n", "size", "fault"])
    groups = table.groupby(["source", "method"], sort=False)["size"]
    table["ratio"] = table["size"] / groups.transform("median")
    apart = np.maximum(table["ratio"], 1 / table["ratio"]) >= OTHER_SCALE
    odd = apart & (groups.transform("count") >= FEWEST_FILES)
    told = zip(table["used"], odd, table.pop("fault"), strict=True)
    table["remark"] = [
        "; ".join(filter(None, ["" if used else LEFT_OUT, ANOTHER if other else "", fault]))
        for used, other, fault in told
    ]
    return table, {"other_scale": OTHER_SCALE, "fewest_files": FEWEST_FILES}


def scale_notes(table: pd.DataFrame, source: str, method: str) -> list[str]:
    """Return a sentence for each file of a source and method that is left out or of another scale."""
    own = table[(table["source"] == source) & (table["method"] == method) & (table["remark"] != "")]
    return [
        f"{file}: {remark}" + (f" ({ratio:.2g} times the usual size)." if ANOTHER in remark else ".")
        for file, remark, ratio in zip(own["file"], own["remark"], own["ratio"], strict=True)
    ]


def _measured(path: Path | str, names: Mapping[str, str]) -> dict[str, Any]:
    try:
        exact, _ = read_arrays(path, names)
    except TableError as error:
        return {"n": 0, "size": np.nan, "fault": f"cannot be read ({one_line(error)})"}
    return {"n": len(exact), "size": float(np.median(np.abs(exact).max(axis=1))), "fault": ""}
