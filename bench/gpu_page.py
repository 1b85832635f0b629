"""What was measured on a GPU in docs/performance.md: ``python -m bench.gpu_page`` writes it from docs/performance/gpu.

The tables there are those of ``python -m bench --minutes``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.sections import write_between

PAGE, TABLES = Path("docs", "performance.md"), Path("docs", "performance", "gpu")
NOTHING = "No GPU was measured yet."
TITLES = {
    "cases": "What was done, and for how long",
    "tests": "Tests of devices",
    "agreement": "Agreement with float64 on the CPU: largest difference over the largest number, and two runs",
    "peers": "Peers: seconds for one image",
    "ceiling": "Dense ceiling: evaluations per second",
    "growth": "Growth: seconds",
    "sources": "Whole calls of other sources: seconds",
    "memory": "Peak memory",
    "graphs": "The model alone, as it is and replayed as a CUDA graph: evaluations per second",
    "compiled": "Dense ceiling with the compiled model: evaluations per second",
}


def section(folder: Path) -> str:
    """Return all tables of a folder with their titles."""
    parts = []
    for name, title in TITLES.items():
        if (path := folder / f"{name}.csv").is_file():
            table = pd.read_csv(path, dtype=str).fillna("")
            lines = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
            parts += [f"### {title}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]
    return "\n\n".join(parts) or NOTHING


def main() -> None:
    """Write the section."""
    write_between(PAGE, "gpu", section(TABLES))


if __name__ == "__main__":
    main()
