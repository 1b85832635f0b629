"""Small tables as people have them, for the tests of data sets of the kind ``table``."""

from pathlib import Path

import numpy as np
import pandas as pd

from approxgrad.datasets.kind import DATASETS
from approxgrad.descriptions import read

SHARES = {"validation": 0.15, "test": 0.25}
ARRAYS = {"task": "regression", **SHARES}
COLUMNS = {"task": "regression", "features": ["a", "b"], "target": "y", **SHARES}


def frame(rows=40, seed=0):
    generator = np.random.default_rng(seed)
    own = pd.DataFrame(generator.normal(size=(rows, 4)), columns=["b", "effect of a", "a", "effect of b"])
    return own.assign(y=np.arange(rows) + 1000.0 * seed, label=np.resize(["no", "yes", "maybe", "no"], rows), text="x")


def write(path, data):
    """Write a table as the end of the path says."""
    data.to_csv(path, index=False) if path.suffix == ".csv" else data.to_parquet(path)
    return str(path)


def table(options):
    return read(DATASETS["table"], options)


def prepare(options, seed=0):
    own = table(options)
    return own.prepare(seed, [Path(path) for path in own.sources("own")])


def column(split, place):
    return split.features[:, place]
