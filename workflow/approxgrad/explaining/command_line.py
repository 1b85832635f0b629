"""``approxgrad explain MODEL INPUT``: a picture of what a model sees, for the evaluations that one has."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from approxgrad.explaining.explanation import explain, explained_methods
from approxgrad.gradients.directional.spectrum import Spectrum
from approxgrad.messages import one_line
from approxgrad.models.black_box import TRANSFORMS
from approxgrad.models.libraries import needing
from approxgrad.storage.files import try_writing, write_atomically

IN_THE_TERMINAL = {
    "check_rows=False": "--no-row-check",
    "transform='log' of a model from a file or a service explains these": "--transform log explains these",
    "channels_last=True": "--channels-last",
    "round_inputs=True": "--round-inputs",
    "name the explained one as output=": "name the explained one as --model-output",
    "name the explained one as input=, and give values of the others as constants={name: array}": (
        "the terminal explains models of one input; in Python, approxgrad.OnnxModel takes values of the others"
    ),
    "output: got ": "--model-output: got ",
    "evaluations are of little use here": "evaluations (what the checks of the model leave) are of little use here",
    "groups= of features, such as patches of pixels, take one evaluation each": "give a larger --budget",
    "; batch_size=1 helps if it takes rows one by one": "",
}
"""How the terminal spells what messages say of Python's arguments, and what they recommend; nothing if it cannot."""

TOLD = ("budget:", "inputs:", "outputs:", "quality:")
"""Beginnings of the warnings that are for whoever reads the map."""


class _Parser(argparse.ArgumentParser):
    """A parser whose faults are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"approxgrad: {message.removeprefix('argument ')}; --help lists all options\n")


def _whole_number(text: str) -> int:
    """Return an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def _number(text: str) -> float:
    """Return a real number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def _output_number(text: str) -> int:
    """Return the number of an output."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected the number of an output, from 0 on, got {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = _Parser(prog="approxgrad", description="Feature attributions from model evaluations.")
    commands = found.add_subparsers(dest="command", required=True)
    text = "explain one input within a budget of evaluations: a picture, and the numbers beside it"
    needs = "Needs the extra `study`: pip install '.[study]' in a clone of approxgrad."
    own = commands.add_parser("explain", help=text, description=f"{text}. {needs}")
    own.add_argument("model", help="ONNX file, address of a service (grpc://, http://), weights, or TorchScript file")
    own.add_argument(
        "input",
        type=Path,
        help="image file, or array of one input (.npy); an image is resized in proportion until it just covers height "
        "and width of the model's inputs, and cropped to its middle",
    )
    own.add_argument("--budget", type=_whole_number, default=1000, help="most evaluations of the model (default: 1000)")
    own.add_argument(
        "--output",
        type=Path,
        default=Path("map.png"),
        help="the picture; beside it, under its name, come the numbers (.json) and the map (.npy) (default: map.png)",
    )
    own.add_argument("--target", type=_output_number, help="which output is explained (default: the largest)")
    own.add_argument(
        "--method",
        choices=explained_methods(),
        default="input_x_gradient",
        help="attribution method, the kind of map (default: input_x_gradient)",
    )
    own.add_argument("--step", type=_number, default=0.1, help="length of a step in the model's units (default: 0.1)")
    own.add_argument(
        "--quality",
        type=_number,
        help="stop where the estimated gradient is predicted to have this cosine with the whole one, above 0 and below "
        "1 (default: the whole budget is spent)",
    )
    own.add_argument("--spectrum", type=Path, help="order of the directions, a file of approxgrad.Spectrum")
    own.add_argument("--mean", type=_number, nargs="+", help="of pixels from 0 to 1, for image files (default: 0)")
    own.add_argument("--std", type=_number, nargs="+", help="likewise (default: 1)")
    own.add_argument(
        "--shape",
        type=_whole_number,
        nargs="+",
        help="channels, height and width, if the model does not say them, such as 3 32 32",
    )
    own.add_argument("--architecture", help="for weights: a network of torchvision, or cnn, mlp, resnet18, resnet50")
    own.add_argument("--outputs", type=_whole_number, help="number of its outputs (default: as the last weights)")
    own.add_argument("--model-output", help="name of the output, if there are several")
    own.add_argument("--model-name", help="name of the model at the service")
    own.add_argument("--transform", choices=sorted(TRANSFORMS), help="makes logits of probabilities")
    own.add_argument("--channels-last", action="store_true", help="the model takes height, width, channels")
    own.add_argument("--round-inputs", action="store_true", help="round inputs to what the model takes, as integers")
    own.add_argument(
        "--no-row-check",
        action="store_true",
        help="do not check that an output depends on its own input only, and not on chance; saves some evaluations",
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; faults are told in one line.

    Returns
    -------
    int
        0, 1 after a fault, or 130 if interrupted.
    """
    given = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", UserWarning)
            _explain(given)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"approxgrad: {_in_the_terminal(one_line(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("approxgrad: interrupted", file=sys.stderr)
        return 130
    for line in dict.fromkeys(str(own.message) for own in noted if str(own.message).startswith(TOLD)):
        print(f"approxgrad: {_in_the_terminal(line)}", file=sys.stderr)
    return 0


def _in_the_terminal(message: str) -> str:
    for python, option in IN_THE_TERMINAL.items():
        message = message.replace(python, option)
    return message


def _explain(given: argparse.Namespace) -> None:
    # Files, pictures and tables need more libraries than attributions do.
    with needing("study"):
        from approxgrad.explaining.inputs import input_shape, read_input
        from approxgrad.explaining.opened import check_names, opened_model
        from approxgrad.explaining.picture import check_format, save_picture
    check_names(given.model, given.input)
    check_format(given.output)
    numbers_file, map_file = (given.output.with_suffix(ending) for ending in (".json", ".npy"))
    written = {"picture": given.output, "numbers": numbers_file, "map": map_file}
    _keep_what_is_read(given, written)
    try_writing(list(written.values()))
    shape = tuple(given.shape) if given.shape else None
    if shape is not None and min(shape) < 1:
        raise ValueError(f"shape: expected positive sizes, got {' '.join(map(str, shape))}")
    model = opened_model(
        given.model,
        shape,
        given.architecture,
        given.outputs,
        output=given.model_output,
        model=given.model_name,
        transform=given.transform,
        channels_last=given.channels_last,
        round_inputs=given.round_inputs,
    )
    expected = input_shape(getattr(model, "shape", None), shape, channels_last=given.channels_last)
    integers = np.issubdtype(getattr(model, "dtype", np.float32), np.integer)
    how = {"integers": integers, "channels_last": given.channels_last, "named": shape is not None}
    image = read_input(given.input, expected, given.mean, given.std, **how)
    found = explain(
        model,
        image,
        given.target,
        budget=given.budget,
        method=given.method,
        step=given.step,
        quality=given.quality,
        order=Spectrum.load(given.spectrum) if given.spectrum else "luma",
        check_rows=not given.no_row_check,
    )
    save_picture(found, given.output)
    numbers = json.dumps(found.numbers(), indent=2) + "\n"
    write_atomically(numbers_file, lambda path: path.write_text(numbers))
    write_atomically(map_file, partial(_save, found.values))
    print(found)
    print(f"{given.output}, with the numbers in {numbers_file} and the map in {map_file}")


def _keep_what_is_read(given: argparse.Namespace, written: Mapping[str, Path]) -> None:
    """Refuse, by a ValueError, results that would take the place of a file that is read."""
    read = {"model": Path(given.model), "input": given.input, "spectrum": given.spectrum}
    for what, path in written.items():
        for role, own in read.items():
            if own is not None and path.exists() and own.exists() and path.samefile(own):
                beside = "" if path == given.output else f" beside {given.output}"
                raise ValueError(
                    f"output: {path}, where the {what} would be written{beside}, is the {role}; name another picture"
                )


def _save(values: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values)
