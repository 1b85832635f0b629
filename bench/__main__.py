"""Run the benchmark: ``python -m bench`` writes docs/performance.md, a figure and the parquet files behind them.

With ``--minutes`` it measures within that time what is to be known about a GPU (:mod:`bench.prepared`).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

from approxgrad.models.device import set_up_torch
from bench.ceiling import matrix_product_rate, share_of_ceiling
from bench.memory import peak_memory
from bench.peers import compare, looks
from bench.report import write_report
from bench.scaling import scaling
from bench.subjects import ARCHITECTURES, subject

FULL = {
    "side": 32,
    "repeats": 4,
    "seconds": 0.2,
    "path_points": 50,
    "largest_seconds": 1.0,
    "compiled": tuple(ARCHITECTURES),
    "sizes": {
        "cnn": {"loop": 300, "batched": 3072},
        "resnet18": {"loop": 60, "batched": 3072},
        "resnet50": {"loop": 8, "batched": 220},
    },
    "scaling": {
        "features": [384, 768, 1536, 3072],
        "inputs": [1, 2, 4, 8, 16],
        "path points": [5, 10, 20, 50],
    },
    "memory": [(name, side, points) for name in ARCHITECTURES for side in (32, 224) for points in (1, 50)],
    "memory_seconds": 3.0,
    "product_side": 4096,
}
QUICK = FULL | {
    "side": 8,
    "repeats": 2,
    "seconds": 0.05,
    "path_points": 4,
    "largest_seconds": 0.1,
    "compiled": ("cnn",),
    "sizes": {name: {"loop": 2, "batched": 16} for name in ARCHITECTURES},
    "scaling": {"features": [48, 96, 192], "inputs": [1, 2], "path points": [2, 4]},
    "memory": [("cnn", 32, 2)],
    "memory_seconds": 0.5,
    "product_side": 512,
}


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that everything runs (numbers mean nothing)")
    parser.add_argument(
        "--output", type=Path, help="folder of the results (default: docs, of a GPU docs/performance/gpu)"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--minutes", type=float, help="measure a GPU, for so long; tables go to OUTPUT")
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL
    device = set_up_torch(arguments.device, arguments.threads)
    if arguments.minutes is not None:
        from bench.prepared import GPU_TABLES, run

        sys.exit(
            min(1, run(device, arguments.threads, arguments.minutes, arguments.output or GPU_TABLES, arguments.quick))
        )
    if device.type == "cuda":
        parser.error("on a GPU, give --minutes, such as 8; on the CPU, --device cpu")

    def images(name: str, count: int = 1) -> dict[str, object]:
        return {"name": name, "side": settings["side"], "device": device, "images": count}

    timing = {"repeats": settings["repeats"], "seconds": settings["seconds"]}
    peers, ceilings, costs = [], [], []
    for name in ARCHITECTURES:
        own = subject(**images(name))
        compiled = name in settings["compiled"]
        for points in (1, settings["path_points"]):
            print(f"{name}: element loop, FeatureAblation and engine, {points} path points ...", flush=True)
            peers.append(compare(own, points, settings["sizes"][name], compiled, arguments.threads, **timing))
        print(f"{name}: dense ceiling ...", flush=True)
        ceilings.append(share_of_ceiling(own, settings["largest_seconds"], compiled, **timing))
        costs.append(looks(own, settings["repeats"]))
    print("scaling ...", flush=True)
    sizes = settings["scaling"]
    if device.type == "cpu":
        sizes = sizes | {"threads": list(range(1, arguments.threads + 1))}
    growth = scaling(subject(**images("cnn", max(sizes["inputs"]))), sizes, **timing)
    print("peak memory ...", flush=True)
    memory = peak_memory(settings["memory"], device, arguments.threads, settings["memory_seconds"])
    product = matrix_product_rate(device, settings["product_side"], **timing)
    tables = {
        "peers": pd.concat(peers, ignore_index=True),
        "ceiling": pd.concat(ceilings, ignore_index=True),
        "looks": pd.concat(costs, ignore_index=True),
        "scaling": growth,
        "memory": memory,
    }
    write_report(arguments.output or Path("docs"), tables, device, arguments.threads, settings, product)


if __name__ == "__main__":
    main()
