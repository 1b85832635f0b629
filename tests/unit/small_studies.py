"""Small studies: experiments over the data sets, models and methods of the default one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Setting, Source
from approxgrad.study.configuration import ConfigError
from approxgrad.study.grid import Cell
from approxgrad.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
SALIENCY = ("synthetic_linear", "mlp", "saliency")


def difference(scheme="forward", steps=(0.1,), dtypes=("float32",)) -> dict[str, Any]:
    """Return an entry of `gradients`."""
    return {"difference": scheme, "steps": list(steps), "dtypes": list(dtypes)}


def entry(*gradients: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return an experiment with gradient sources, by default a single one; :func:`study` gives them names."""
    defaults = {"datasets": ["synthetic_linear"], "models": ["mlp"], "methods": ["saliency"], "samples": 5}
    return defaults | {"gradients": list(gradients) or [difference()]} | changes


def without_sources(**changes: Any) -> dict[str, Any]:
    """Return an experiment that names no gradient source."""
    return entry() | changes | {"gradients": []}


def study(*experiments: dict[str, Any], **changes: Any) -> Study:
    """Return the default study with other experiments and other changes."""
    config = copy.deepcopy(DEFAULT) | changes | {"gradients": {}, "experiments": []}
    for number, experiment in enumerate(experiments):
        named = {f"g{number}_{place}": own for place, own in enumerate(experiment["gradients"])}
        config["gradients"] |= named
        own = {name: value for name, value in experiment.items() if name != "gradients"}
        config["experiments"].append(own | ({"gradients": list(named)} if named else {}))
    config["gradients"] = config["gradients"] or DEFAULT["gradients"]
    return Study(config)


def faults(*experiments: dict[str, Any], **changes: Any) -> list[str]:
    """Return what is said of a study that cannot be made."""
    with pytest.raises(ConfigError) as error:
        study(*experiments, **changes)
    return str(error.value).splitlines()


def key(cell: Cell) -> tuple[str, str, str, str]:
    """Return what tells cells apart."""
    return cell.dataset, cell.model, cell.method, cell.gradient.name


def source(setting: Setting, dtype: str = "float32", scheme: str = "forward") -> Source:
    """Return a finite difference as a gradient source."""
    return Source(Difference(scheme, (setting,), (dtype,)), setting, dtype)  # type: ignore[arg-type]
