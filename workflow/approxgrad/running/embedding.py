"""Whether another workflow that uses this one as a module does so in a way that works."""

from __future__ import annotations

import os
import sys
from typing import Any

FILES = ("data/x", "results/x", "logs/x", "benchmarks/x")


def check_embedding(workflow: Any) -> None:
    """End the program with one line if the Snakefile is not one of a checkout, or `workflow` changes its paths."""
    if not isinstance(workflow.current_basedir, os.PathLike):
        sys.exit(
            "approxgrad: the Snakefile is not a local file, but must be in the checkout from which the package is "
            "installed; clone the repository and name its Snakefile"
        )
    if any(str(workflow.modifier.modify_path(path)) != path for path in FILES):
        sys.exit(
            "approxgrad: cannot be used as a module with prefix or replace_prefix, because its scripts find the files "
            "of a study by their paths; leave them out, or run it by itself with --directory"
        )
