"""Networks, weights, steps and cached results that are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import nn

from approxgrad.storage.attributions import Attributions, write_attributions
from bad_input import BadInput, Code, experiment

# Models.

OWN = "import torch\nfrom torch import nn\n\n\ndef build(input_shape, outputs):\n"
LINEAR = "nn.Linear(*input_shape, outputs)"
TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 0.01}


def factory(
    what: str, says: str, code: str, rule: str = "train_model", name: str = "build", **changes: Any
) -> BadInput:
    options = {"factory": f"own_networks:{name}", "training": TRAINING} | changes
    config = {"models": {"own": options}, "experiments": experiment(model="own")}
    return BadInput(what, rule, says, lambda folder: (folder / "own_networks.py").write_text(OWN + code), config)


def module(forward: str, start: str = "pass") -> str:
    return (
        "    class Own(nn.Module):\n        def __init__(self):\n            super().__init__()\n"
        f"            self.layer = {LINEAR}\n            {start}\n"
        f"        def forward(self, x):\n            {forward}\n    return Own()\n"
    )


def weights(what: str, says: str, write: Callable[[Path], Any]) -> BadInput:
    options = {"architecture": "mlp", "hidden": [4], "weights": {"file": "own.weights"}}
    config = {"models": {"own": options}, "experiments": experiment(model="own")}
    return BadInput(what, "load_model", says, lambda folder: write(folder / "own.weights"), config)


def state(width: int = 4, outputs: int = 1, **changes: Any) -> dict[str, torch.Tensor]:
    network = nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, outputs))
    return {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()} | changes


def truncated(path: Path) -> None:
    save_file(state(), path)
    path.write_bytes(path.read_bytes()[:-9])


NAN = torch.full((1,), torch.nan)
NEITHER = "own.weights: is neither safetensors nor a state dictionary of tensors only"
MODELS = [
    weights(
        "weights of another network", "missing network.0.weight, ", lambda path: save_file({"fc.weight": NAN}, path)
    ),
    weights(
        "weights for other classes",
        "wrong: network.3.weight has shape (3, 4), expected (1, 4)",
        lambda path: save_file(state(outputs=3), path),
    ),
    weights(
        "weights that are no numbers",
        "NaN or infinite values in network.3.bias",
        lambda path: torch.save(state() | {"network.3.bias": NAN}, path),
    ),
    weights(
        "weights in whole numbers",
        "wrong: network.3.bias holds int64, expected float32",
        lambda path: torch.save(state() | {"network.3.bias": torch.ones(1, dtype=torch.int64)}, path),
    ),
    weights("a pickle with code", NEITHER, lambda path: path.write_bytes(pickle.dumps(Code()))),
    weights("a model pickled whole", NEITHER, lambda path: torch.save(nn.Linear(2, 2), path)),
    weights("truncated safetensors", NEITHER, truncated),
    weights("a list for a dictionary", "own.weights: is not a state dictionary", lambda path: torch.save([NAN], path)),
    factory("no such module", "factory nowhere:build: cannot be imported (ModuleNotFound", "", factory="nowhere:build"),
    factory(
        "no such function",
        "factory own_networks:bild: cannot be imported (Attri",
        f"    return {LINEAR}\n",
        name="bild",
    ),
    factory("a module with a mistake", "own_networks:build: cannot be imported (SyntaxError:", "    return (\n"),
    factory(
        "a factory that cannot be called",
        "own_networks:OWN: is int, expected a function",
        "    pass\nOWN = 1\n",
        name="OWN",
    ),
    factory("a factory that fails", "own_networks:build: failed (KeyError: 'x')", "    return {}['x']\n"),
    factory(
        "an option that it does not take", "failed (TypeError: build() got an unexp", "    pass\n", options={"x": 1}
    ),
    factory("a factory that makes no network", "returned int, expected a torch module", "    return 1\n"),
    factory(
        "other inputs", "model: fails for inputs of shape (12,) (RuntimeError:", "    return nn.Linear(5, outputs)\n"
    ),
    factory(
        "too many outputs", "returns (2, 3) for 2 inputs, expected (2, 1)", "    return nn.Linear(*input_shape, 3)\n"
    ),
    factory("no axis of outputs", "returns (2,) for 2 inputs, expected (2, 1)", module("return self.layer(x)[:, 0]")),
    factory(
        "outputs that are NaN",
        "training: the validation loss is nan in epoch 1",
        module("return self.layer(x) * torch.nan"),
    ),
    factory(
        "noise in the outputs",
        "model: outputs differ by",
        module("return self.layer(x) + torch.rand(1)"),
    ),
    factory(
        "rows that see each other",
        "between a row alone and the same row beside others; batch_size=1 evaluates",
        module("return self.layer(x - x.mean(0))"),
    ),
    factory(
        "random numbers that are not saved",
        "model: loaded again from its file, its outputs differ by",
        module("return self.layer(x * self.p)", "self.p = torch.randn(*input_shape)"),
    ),
    factory(
        "a state that training changes and no file holds",
        "model: loaded again from its file, its outputs differ by",
        module(
            "self.n = self.n + x.mean().detach() if self.training else self.n; return self.layer(x) * self.n",
            "self.n = 1",
        ),
    ),
    factory(
        "state that cannot be saved",
        "model: cannot be saved: p: holds complex128, which safetensors cannot store",
        module("return self.layer(x)", "self.register_buffer('p', torch.ones(1, dtype=torch.complex128))"),
    ),
    factory(
        "no gradient",
        "training: there is no gradient of the loss (RuntimeError: ",
        module("return self.layer(x.detach()).detach()"),
    ),
    factory(
        "a failure in training only",
        "training: the model fails for 14 rows of shape (12,) (KeyError: 'x')",
        module("return {}['x'] if self.training else self.layer(x)"),
    ),
    factory("a factory that ends", "own_networks:build: failed (it called sys.exit(3))", "    raise SystemExit(3)\n"),
    factory(
        "a network that ends",
        "model: fails for inputs of shape (12,) (it called sys.exit())",
        module("raise SystemExit"),
    ),
    factory(
        "outputs that become infinite",
        "model: output is inf for input 0",
        module("return self.layer(x) if len(x) in (13, 14, 20, 40) else self.layer(x) + torch.inf"),
        rule="attribute",
    ),
]

FEW = "a,b,y\n" + "".join(f"{row},{row * row},{row % 2}\n" for row in range(40))
TABLE = {
    "kind": "table",
    "task": "classification",
    "path": "t.csv",
    "features": ["a", "b"],
    "target": "y",
    "test": 0.05,
}


def forward(step: float) -> dict[str, Any]:
    return {"forward": {"difference": "forward", "steps": [step]}}


ATTRIBUTIONS = [
    BadInput(
        "more samples than test rows, which only the file tells",
        "attribute",
        "samples: got 3, expected 1 to 2, the number of test rows",
        lambda folder: (folder / "t.csv").write_text(FEW),
        {"datasets": {"own": TABLE}, "experiments": experiment("own", samples=3)},
    ),
    BadInput(
        "a step that every feature loses",
        "attribute",
        "step: 1e-12 is lost in float32, x + h is x for every feature of the inputs; expected at least",
        lambda folder: None,
        {"gradients": forward(1e-12), "experiments": experiment(gradients=["forward"])},
    ),
]

# Cached attributions.

CACHED = {"gradients": forward(0.1), "experiments": experiment(gradients=["forward"])}


def write_cached(folder: Path) -> list[Path]:
    """Write all attributions of the study of :data:`CACHED`, and return their paths."""
    random = np.random.default_rng(0)
    paths = []
    for name, family, setting in (("exact", "exact", None), ("forward-h0.1", "forward", 0.1)):
        path = folder / f"results/attributions/dataset=synthetic_linear/model=mlp/method=saliency/gradient={name}"
        maps = random.normal(size=(2, 12))
        metadata = {"gradient": name, "family": family, "setting": setting, "setting_name": "step" if setting else ""}
        metadata |= {"chosen": False, "dtype": "float32", "evaluations": 13 if setting else 1, "signed": False}
        metadata |= {"feature_shape": [12], "rounding_scale": 1e-3}
        result = Attributions(np.arange(2), maps, maps.astype(np.float32), None, maps.astype(np.float32), metadata)
        paths.append(path / "part-0.parquet")
        write_attributions(paths[-1], result)
    return paths


def cached(what: str, says: str, change: Callable[[Path], Any]) -> BadInput:
    return BadInput(what, "evaluate", says, lambda folder: change(write_cached(folder)[-1]), CACHED)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60] ^= 4
    path.write_bytes(content)


def renamed(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    names = [name.replace("attribution", "map") for name in table.column_names]
    pq.write_table(table.rename_columns(names).replace_schema_metadata(table.schema.metadata), path)


UNREADABLE = "gradient=forward-h0.1/part-0.parquet: cannot be read as parquet ("
RESULTS = [
    cached("an empty file", UNREADABLE, lambda path: path.write_bytes(b"")),
    cached("a truncated file", UNREADABLE, lambda path: path.write_bytes(path.read_bytes()[:-20])),
    cached("a flipped bit", UNREADABLE, flipped),
    cached("a text", UNREADABLE, lambda path: path.write_text("a,b\n1,2\n")),
    cached(
        "a table of someone else",
        "has no metadata of approxgrad",
        lambda path: pd.DataFrame({"a": [1]}).to_parquet(path),
    ),
    cached("a column by another name", "part-0.parquet: lacks the columns attribution", renamed),
]

MODELS_AND_RESULTS = [*MODELS, *ATTRIBUTIONS, *RESULTS]
