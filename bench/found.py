"""Measure what docs/found.md tells, with files of your own: ``python -m bench.found --help``.

Images and tables are independent parts. Rows of images are appended to CSV files in the output folder as they are
found, so a run that was stopped goes on where it was; other images or weights than those of the rows that are there are
refused. ``python docs/found.py`` writes the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from approxgrad.datasets.faults import DatasetError
from approxgrad.messages import one_line
from approxgrad.models.device import set_up_torch
from approxgrad.models.kind import ModelError
from approxgrad.provenance.digests import content_digest
from approxgrad.storage.table_checks import TableError
from bench.found_images import NETWORKS, Images, network
from bench.found_images import measure as measure_images
from bench.found_truth import DATA, WEIGHTS
from bench.found_truth import measure as measure_truth

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "found"


class FoundError(ValueError):
    """What is missing or does not fit, in one line."""


def noted(folder: Path, described: dict[str, Any]) -> None:
    """Write down what rows come from; a FoundError if those that are there come from something else."""
    path = folder / "about.json"
    about = json.loads(path.read_text()) if path.exists() else {}
    for name, value in described.items():
        if about.setdefault(name, value) != value:
            was, now = (one_line(own, 40) for own in (about[name], value))
            raise FoundError(f"{name}: {path} has rows of {was}, got {now}; take another --output")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="python -m bench.found", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder or .zip with test/<class>/ of 32 x 32 images in 10 classes")
    for name in NETWORKS:
        parser.add_argument(f"--{name}", type=Path, help=f"weights of the {name}, a state dictionary")
    parser.add_argument(
        "--rounds", type=int, default=20, help="of images: two for the CNN's maps, else one (default: 20)"
    )
    parser.add_argument("--first", type=int, default=0, help="rounds to pass over, for another process (default: 0)")
    parser.add_argument("--synthetic", type=Path, help=f"folder with the published {DATA} and {WEIGHTS}")
    parser.add_argument("--trainings", type=int, default=6, help="of networks beside the published one (default: 6)")
    parser.add_argument("--features", type=int, default=64, help="of Integrated Gradients, drawn for each image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the tables (default: docs/found)")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Measure the parts whose files are given."""
    names = ("images", *NETWORKS, "synthetic")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    for name, path in given.items():
        files = {"images": [path], "synthetic": [path / DATA, path / WEIGHTS]}.get(name, [path])
        for file in files:
            if not (file.exists() if name == "images" else file.is_file()):
                raise FoundError(f"--{name}: {file} is not there")
    networks = {name: given[name] for name in NETWORKS if name in given}
    if ("images" in given) != bool(networks) or not given:
        options = ", ".join(f"--{name}" for name in NETWORKS)
        raise FoundError(f"expected --images with at least one of {options}, or --synthetic, or all of them")
    described = {"seed": arguments.seed, "torch": torch.__version__}
    if networks:
        images = Images(given["images"], arguments.seed)
        models = {name: network(name, path) for name, path in networks.items()}
        own = {"images": images.digest, "features": arguments.features}
        noted(arguments.output, described | own | {name: content_digest(path) for name, path in networks.items()})
        for name, model in models.items():
            table = arguments.output / f"{name}.csv"
            turns = range(arguments.first, arguments.first + arguments.rounds)
            measure_images(images, name, model, turns, arguments.features, table)
    if "synthetic" in given:
        own = {name: content_digest(given["synthetic"] / name) for name in (DATA, WEIGHTS)}
        noted(arguments.output, described | own | {"trainings": arguments.trainings})
        measure_truth(given["synthetic"], arguments.trainings, arguments.seed, arguments.output / "truth.csv")


def main() -> None:
    """Measure, or say in one line what is missing."""
    set_up_torch("cpu", 1)
    warnings.filterwarnings("ignore", "step: lost", UserWarning)
    try:
        run(parsed(sys.argv[1:]))
    except (FoundError, DatasetError, ModelError, TableError) as error:
        sys.exit(one_line(error, 1000))


if __name__ == "__main__":
    main()
