"""Compare chosen steps with the best ones: ``python -m bench.steps`` fails if an error exceeds twice the smallest."""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path

import pandas as pd

from approxgrad.models.device import set_up_torch
from bench.step_cases import METHODS, MODELS, Case, train_models

LIMIT = 2.0
"""Largest allowed ratio of the error at the chosen step and the smallest error of the grid."""

SAMPLES = {"mlp": 50, "cnn": 20, "resnet18": 20}
"""Test rows that are attributed: as in ``studies/steps.yaml``."""

SCHEMES, DTYPES = ("forward", "central"), ("float32", "float64")
KEYS = ["seed", "dataset", "model", "method", "scheme", "dtype"]


def measure(case: Case, cache: Path) -> dict[str, object]:
    """Return the row of a case: the best step, from the cache if it is there, and the chosen one."""
    name = "-".join(map(str, (case.dataset, case.model, case.method, case.scheme, case.dtype)))
    file = cache / f"{name}-{case.samples}-{case.path_points}.parquet"
    if not file.exists():
        step, error = case.best()
        cache.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([{"best_step": step, "best_error": error}]).to_parquet(file, index=False)
    best = pd.read_parquet(file).iloc[0].to_dict()
    step, error, evaluations = case.chosen()
    own = {key: getattr(case, key) for key in KEYS}
    chosen = {"auto_step": step, "auto_error": error, "evaluations": evaluations}
    return {**own, **best, **chosen, "ratio": error / best["best_error"]}


def main() -> None:
    """Measure, print the table and say whether the limit was kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, models and samples (default: 0)")
    parser.add_argument("--models", nargs="+", default=["mlp", "cnn", "resnet18"], choices=list(SAMPLES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--path-points", type=int, default=50, help="of Integrated Gradients (default: 50)")
    parser.add_argument("--folder", type=Path, help="keep models and errors of the grid here, to go on from later")
    parser.add_argument("--output", type=Path, help="also write the table as CSV")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    arguments = parser.parse_args()
    set_up_torch("cpu", 1)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in arguments.seeds:
            folder = (arguments.folder or Path(temporary)) / f"seed-{seed}"
            models = [(dataset, model) for dataset, model in MODELS if model in arguments.models]
            train_models(folder.resolve(), seed, models)
            for (dataset, model), method, dtype, scheme in product(
                models, arguments.methods, arguments.dtypes, SCHEMES
            ):
                case = Case(folder, seed, dataset, model, method, scheme, dtype, SAMPLES[model], arguments.path_points)
                rows.append(measure(case, folder / "grid"))
                print(
                    "  ".join(
                        f"{value:.3g}" if isinstance(value, float) else str(value) for value in rows[-1].values()
                    ),
                    flush=True,
                )
    table = pd.DataFrame(rows)
    if arguments.output:
        table.to_csv(arguments.output, index=False, float_format="%.4g")
    over = table[table["ratio"] > LIMIT]
    print(f"\nlargest ratio {table['ratio'].max():.2f}; above {LIMIT:g}: {len(over)} of {len(table)} cases")
    if len(over):
        print(over.to_string(index=False))
        sys.exit(1)


if __name__ == "__main__":
    main()
