"""The study that the configuration describes, and what all rules share."""

import atexit
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import approxgrad
from approxgrad.datasets.image_files import listing_digest
from approxgrad.provenance.dependencies import library_versions, pass_on_package, source_files
from approxgrad.provenance.digests import code_digest, file_state
from approxgrad.study.choices import STEPS
from approxgrad.study.grid import ATTRIBUTIONS, SHARDS, keys_pattern, remove_gathered_shards
from approxgrad.running.lock import RUN_VARIABLE, RunLockError, hold, let_go, runs
from approxgrad.seeds import derive_seed
from approxgrad.study.study import Study, any_of
from approxgrad.running.summaries import Run

BASE = Path(workflow.basedir)

# What the handlers at the start and the end of a run share.
run_report = Run()

if not Path(approxgrad.__file__).resolve().is_relative_to(BASE.resolve()):
    sys.exit(
        f"approxgrad: the installed package is {Path(approxgrad.__file__).parent}, not this checkout's; run: pip install -e {BASE}"
    )

pass_on_package()
# So that jobs end with the process that starts them.
os.environ[RUN_VARIABLE] = str(os.getpid())

with one_line_each():
    study = Study(config)
    study.check_targets(sys.argv[1:])

# Here and not in `onstart`, because Snakemake looks for locks of its own before that.
if workflow.is_main_process and runs(sys.argv[1:]):
    try:
        remark = hold()
    except RunLockError as error:
        sys.exit(f"approxgrad: {error}")
    atexit.register(let_go)
    if remark:
        remove_gathered_shards()
        logger.info(f"approxgrad: {remark}")


# Jobs that may use a GPU take one unit of `gpu`, of which a profile grants a number; without a GPU they take none.
GPU = int(
    study.config["device"] == "cuda" or (study.config["device"] == "auto" and shutil.which("nvidia-smi") is not None)
)

# Constraints of the first wildcard that look ahead to all four: cells that one job attributes, and cells with shards.
WHOLE_CELLS, CUT_CELLS = (
    f"(?={keys_pattern(cell for cell in study.cells if (cell.shards > 1) == cut)}(?:/|$))[A-Za-z0-9_-]+"
    for cut in (False, True)
)


# A script and the package's modules that it imports: Snakemake tracks a script, but not what it imports.
def code(script, *modules):
    path = BASE / "workflow" / "scripts" / script
    return [os.path.relpath(file) for file in [path, *source_files(path, modules)]]


# What else the numbers of a script depend on. Snakemake compares the times of input files, and an older release that is
# unpacked over a newer one has older times, so the digest of the code counts as well.
@cache
def versions(script, *modules, model=None):
    factory = study.factory_module(model) if model else ""
    return {
        "code": code_digest(code(script, *modules)),
        **library_versions(BASE / "workflow" / "scripts" / script, modules, factory),
    }


# The files that the report's pages are made from, which the scripts read and do not import.
def templates(*names):
    return [os.path.relpath(BASE / "workflow" / "approxgrad" / "report" / "templates" / name) for name in names]


wildcard_constraints:
    dataset="[A-Za-z0-9_-]+",
    model="[A-Za-z0-9_-]+",
    method="[A-Za-z0-9_-]+",
    gradient="[a-z_]+(-h[0-9.]+|-auto)?(-float64)?",
    points="inputs|path-[A-Za-z0-9.+-]+",
    source="[A-Za-z0-9_-]+",
    shard="[1-9][0-9]*-of-[1-9][0-9]*",
