"""The tests of the queue run Snakemake as those of the workflow do."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "workflow"))
