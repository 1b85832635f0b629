"""Whether a file of weights gives back the model that was saved, as another job will load it.

A network can compute with more than its state dictionary: random numbers from its factory, an average in an attribute,
a global variable. Only a new process, which shares none of that, finds this out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from approxgrad.extensions import load
from approxgrad.gradients.evaluating.rows import ROUNDINGS
from approxgrad.messages import one_line
from approxgrad.models.device import set_up_torch
from approxgrad.models.evaluating import evaluated, explained, kept_randomness, seed_anew, switched
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.model_files import load_model, network
from approxgrad.models.network_kind import Network
from approxgrad.models.states import StateError, encoded, split_state
from approxgrad.provenance.dependencies import PACKAGE, PACKAGE_ROOT
from approxgrad.storage.files import UNFINISHED, write_atomically
from approxgrad.storage.seals import sealed_weights
from approxgrad.storage.splits import Split

CHECKED_ROWS = 8
"""Rows of a split that models are compared on."""

DRAWS = 4
"""Roundings of the inputs that are drawn to see what rounding does to the outputs."""

HELPS = (
    "register what it computes with as a parameter or, with register_buffer, as a buffer, "
    "or draw it in the factory from a generator with a seed of its own"
)


def some_inputs(split: Split, device: torch.device) -> Tensor:
    """Return the inputs of some rows of a split, evenly spread."""
    last = len(split.target) - 1
    rows = np.unique(np.linspace(0, last, CHECKED_ROWS).round().astype(np.int64))
    return torch.from_numpy(split.rows(rows).model_inputs()).to(device)


def save_model(
    path: Path | str,
    model: nn.Module,
    description: dict[str, Any],
    *,
    inputs: Tensor | None = None,
    checked: bool = True,
) -> None:
    """Write weights as safetensors, and see that they give the same model again.

    Parameters
    ----------
    path : path
        The file.
    model : Module
        Its state dictionary is written as it is in training mode: some networks fold weights for evaluation.
    description : dict
        The arguments of :func:`build_model`, and the entry ``provenance`` where it is known.
    inputs : Tensor, optional
        Rows for the comparison, on the model's device; by default random ones.
    checked : bool
        Whether the file is loaded before it gets its name: :func:`check_saved`.

    Raises
    ------
    ModelError
        If the file cannot hold the state or the description, or gives another model.
    OSError
        If it cannot be written.
    """
    try:
        # Copied before the mode changes back, which changes the tensors of a network that folds them.
        with switched(model, training=True):
            with explained("model: its state dictionary cannot be read"):
                state = model.state_dict()
            weights, extra = split_state(state)
        document = description | ({"extra_state": extra} if extra else {})
        if "options" in document:
            document["options"] = encoded(document["options"], "options of the factory")
    except StateError as error:
        raise ModelError(f"model: cannot be saved: {error}") from None
    metadata = {"approxgrad": json.dumps(document, allow_nan=False)}

    def write(temporary: Path) -> None:
        # Not by safetensors itself, whose error for a full disk is not an OSError.
        temporary.write_bytes(sealed_weights(save(weights, metadata=metadata)))
        if checked:
            check_saved(temporary, model, description, inputs)

    write_atomically(path, write)


def try_saving(path: Path | str, model: nn.Module, description: dict[str, Any], inputs: Tensor) -> None:
    """Save a model beside a path, check the file and remove it; raises what ``save_model`` does."""
    path = Path(path)
    tried = path.with_name(f".{path.stem}{UNFINISHED}trial{path.suffix}")
    try:
        save_model(tried, model, description, inputs=inputs)
    finally:
        tried.unlink(missing_ok=True)


def check_saved(path: Path | str, model: nn.Module, description: dict[str, Any], inputs: Tensor | None = None) -> None:
    """Refuse a file that gives another model than the one that was saved.

    Parameters
    ----------
    path : path
        The file.
    model : Module
        What was saved; neither it nor any random state is changed.
    description : dict
        As it was saved. A model of a user's own code is loaded in a new process, others in this one.
    inputs : Tensor, optional
        Rows for the comparison, on the model's device; by default random ones.

    Raises
    ------
    ModelError
        If the file cannot be loaded, or the outputs differ by more than rounding explains.
    """
    if inputs is None:
        device = next((tensor.device for tensor in model.state_dict().values() if isinstance(tensor, Tensor)), None)
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(CHECKED_ROWS, *description["input_shape"], generator=generator).to(device)
    with evaluated(model), explained(f"model: fails for rows of shape {tuple(inputs.shape[1:])}"):
        expected = model(inputs).detach().clone()
    own = network(description)
    extension = _extension(own)
    found = _in_new_process(path, inputs, extension) if own.module or extension else _here(path, inputs)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ModelError(
            f"model: loaded again from its file, it returns {_form(found)} instead of {_form(expected)}; {HELPS}"
        )
    if torch.allclose(found, expected, rtol=0, atol=0, equal_nan=True):
        return
    difference = (found.double() - expected.double()).abs().nan_to_num(torch.inf).amax(dim=0)
    if (difference > _rounding(model, inputs, expected)).any():
        raise ModelError(
            f"model: loaded again from its file, its outputs differ by {float(difference.max()):.2g}; they depend on "
            f"something that is not in its state dictionary: {HELPS}"
        )


def _extension(own: Network) -> str:
    """Return the file of a user's extension that describes a kind; empty for a kind of this package."""
    module = MODELS.module(own.name)
    return "" if module.partition(".")[0] == PACKAGE else str(sys.modules[module].__file__)


def _here(path: Path | str, inputs: Tensor) -> Tensor:
    with kept_randomness(), torch.no_grad():
        seed_anew()
        found: Tensor = load_model(path, inputs.device)(inputs)
    return found


def _in_new_process(path: Path | str, inputs: Tensor, extension: str) -> Tensor:
    with tempfile.TemporaryDirectory(prefix="approxgrad-") as name:
        folder = Path(name)
        save_file({"inputs": inputs.cpu()}, folder / "inputs")
        # -P: the working directory must not be the first place that modules are found in.
        command = [sys.executable, "-P", "-m", __name__, str(path), str(folder)]
        command += [inputs.device.type, str(torch.get_num_threads()), extension]
        # Modules are found as in this process.
        folders = dict.fromkeys([str(PACKAGE_ROOT.parent), *filter(None, sys.path)])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
        # Into a file: a process that a factory leaves behind would keep a pipe open.
        with (folder / "said").open("w+") as said:
            done = subprocess.run(  # noqa: S603 - this very Python
                command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
            )
        if done.returncode != 0 or not (folder / "outputs").exists():
            raise ModelError(f"model: cannot be loaded again in a new process ({_reason(folder, done.returncode)})")
        return load_file(folder / "outputs")["outputs"].to(inputs.device)


def _reason(folder: Path, status: int) -> str:
    """Return why the process failed: what it wrote, the last line that it said, or how it ended."""
    if (folder / "error").exists():
        return one_line((folder / "error").read_text(encoding="utf-8"))
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    lines = (folder / "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return one_line(lines[-1]) if lines else f"it ended with status {status}"


def _rounding(model: nn.Module, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Return the largest difference of each output that rounding explains."""
    generator = torch.Generator().manual_seed(0)
    eps = torch.finfo(inputs.dtype).eps
    reference = outputs.double()
    bound = ROUNDINGS * eps * reference.abs().nan_to_num(0, 0, 0).amax(dim=0)
    changes = torch.zeros_like(bound)
    with evaluated(model):
        for _ in range(DRAWS):
            signs = torch.randint(0, 2, inputs.shape, generator=generator).mul_(2).sub_(1).to(inputs)
            moved = model(inputs * (1 + ROUNDINGS * eps * signs)).double()
            changes = torch.maximum(changes, (moved - reference).abs().nan_to_num(0, 0, 0).amax(dim=0))
    return bound + changes


def _form(outputs: Tensor) -> str:
    return f"{str(outputs.dtype).removeprefix('torch.')} of shape {tuple(outputs.shape)}"


def _answer(path: str, folder: Path, device: str, threads: int, extension: str) -> None:
    """Load a model and leave its outputs for the inputs in a folder there, or the reason why it fails."""
    place = set_up_torch(device, threads)
    seed_anew()
    inputs = load_file(folder / "inputs")["inputs"].to(place)
    load([extension] if extension else [])
    try:
        with torch.no_grad():
            outputs = load_model(path, place)(inputs).detach().cpu().contiguous()
    except ModelError as error:
        # Without the name of the file, which is a temporary one.
        (folder / "error").write_text(str(error).removeprefix(f"{path}: "), encoding="utf-8")
        return
    save_file({"outputs": outputs}, folder / "outputs")


if __name__ == "__main__":
    _answer(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
    sys.stdout.flush()
    # A thread of the network that never ends would keep the process alive.
    os._exit(0)
