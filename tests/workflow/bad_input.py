"""What a row of the tables of bad inputs says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BadInput:
    """A working directory in which a job stops.

    Attributes
    ----------
    what : str
        What is broken.
    rule : str
        Whose job says it.
    says : str
        Words of its line: the file or key, and what is allowed.
    write : callable
        Writes the files into a folder.
    config : dict
        What is merged with the default study; the names are `own`.
    """

    what: str
    rule: str
    says: str
    write: Callable[[Path], Any]
    config: dict[str, Any] = field(default_factory=dict)


def experiment(dataset: str = "synthetic_linear", model: str = "mlp", **changes: Any) -> list[dict[str, Any]]:
    entry = {"datasets": [dataset], "models": [model], "methods": ["saliency"], "gradients": ["tenth"], "samples": 2}
    return [entry | changes]


class Code:
    """Pickled, it asks the reader to write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)
