"""Time ONNX files behind the engine beside the torch modules that they come from: ``python -m bench.onnx_rates``."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from approxgrad import FiniteDifference, OnnxModel
from approxgrad.gradients.evaluating.targets import target_indices
from approxgrad.models.device import set_up_torch
from bench.subjects import STEP, TARGET, some_features, subject
from bench.timing import Work, interleaved_processes, rates

MODELS = {"cnn": 3072, "resnet18": 1024}
"""Networks, and the derivatives of an image in one unit of work."""

MODULE, RUNTIMES = "torch module", ("onnxruntime", "openvino")
SIDE = 32


@dataclass(frozen=True)
class Way:
    """One way of evaluating a network, as its process is told of it; `folder` holds the ONNX files."""

    way: str
    name: str
    folder: Path
    threads: int

    def make(self) -> Work:
        """Return what is timed: it differentiates an image, and says how many evaluations that takes."""
        set_up_torch("cpu", self.threads)
        own = subject(self.name, SIDE, torch.device("cpu"))
        features = some_features(own, MODELS[self.name])
        model = own.model
        if self.way != MODULE:
            model = OnnxModel(self.folder / f"{self.name}.onnx", runtime=self.way, threads=self.threads)
        source = FiniteDifference(STEP)
        ready = source.prepare(model, (own.images,), (), target_indices(TARGET, 1))

        def work() -> int:
            source.partial_derivatives(ready, (own.images,), features, TARGET)
            return len(features) + 1

        return work


def main() -> None:
    """Measure, and print the rates and their ratios to those of the modules."""
    parser = argparse.ArgumentParser(prog="python -m bench.onnx_rates", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name in MODELS:
            own = subject(name, SIDE, torch.device("cpu"))
            images = torch.zeros(2, 3, SIDE, SIDE)
            shapes = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(own.model, (images,), Path(place, f"{name}.onnx"), dynamo=True, dynamic_shapes=shapes)
            ways = {way: Way(way, name, Path(place), arguments.threads).make for way in (MODULE, *RUNTIMES)}
            timed = interleaved_processes(ways, arguments.repeats, arguments.seconds, torch.device("cpu"))
            table = rates(timed).set_index("way")
            table["ratio"] = table["median"] / table.loc[MODULE, "median"]
            print(
                f"{name}, evaluations a second, {arguments.threads} thread(s)\n{table.round(2).to_string()}", flush=True
            )


if __name__ == "__main__":
    main()
