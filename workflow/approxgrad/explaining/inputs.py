"""Inputs as the terminal names them, files of images and arrays, and which shape they have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.faults import reading
from approxgrad.datasets.pixels import decoded, pillow_limits

CHANNELS = (1, 3)
"""Of pictures."""


def input_shape(
    own: tuple[int | None, ...] | None, shape: tuple[int, ...] | None, *, channels_last: bool = False
) -> tuple[int, ...] | None:
    """Return the shape of one input: of the option, which must fit what the model says, or as the model says it.

    Parameters
    ----------
    own : tuple of int or None, optional
        What the model says, with the channels first: None is any size.
    shape : tuple of int, optional
        Of the option ``--shape``.
    channels_last : bool
        Whether the model is said to take the channels last.

    Raises
    ------
    ValueError
        If they do not fit.
    """
    if own is None or not all(size is None or isinstance(size, int) for size in own):
        return shape
    known = None if None in own else own
    if shape is None or _fits(shape, own):
        if known and len(known) == 3 and known[2] in CHANNELS and known[0] not in CHANNELS:
            warnings.warn(
                f"inputs: of shape {known} look like pictures with the channels last, and are taken for pictures with "
                "the channels first; --channels-last is for such models, and for arrays with the channels first",
                stacklevel=2,
            )
        return shape or known  # type: ignore[return-value]
    got, taken = " ".join(map(str, shape)), _sizes(own)
    if channels_last and own[0] not in CHANNELS and _fits(shape, _first_last(own)):
        raise ValueError(
            f"channels-last: the model takes {_sizes(_first_last(own))}, channels first; leave --channels-last out"
        )
    if not channels_last and own[0] not in CHANNELS and _fits(shape, _last_first(own)):
        raise ValueError(
            f"shape: got {got}, the model takes {taken}; if these are height, width and channels, add --channels-last"
        )
    order = ", which are channels, height and width" if _fits(_last_first(shape), own) else ""
    raise ValueError(f"shape: got {got}, the model takes {taken}{order}; leave --shape out")


def _fits(shape: Sequence[int | None], own: Sequence[int | None]) -> bool:
    return len(shape) == len(own) and all(want in (None, got) for want, got in zip(own, shape, strict=True))


def _first_last(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return a shape with its first axis last."""
    return (*shape[1:], shape[0])


def _last_first(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return a shape with its last axis first."""
    return (*shape[-1:], *shape[:-1])


def _sizes(shape: Sequence[int | None]) -> str:
    """Return a shape as the option spells it."""
    return " ".join("any" if size is None else str(size) for size in shape)


def read_input(
    path: Path,
    shape: tuple[int, ...] | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    *,
    integers: bool = False,
    channels_last: bool = False,
    named: bool = False,
) -> NDArray[np.float32]:
    """Return one input of a model: an array of a ``.npy`` file as it is, or an image file.

    An image is resized to cover height and width of the shape, cut to its middle, scaled to [0, 1] and normalised. For
    a model that takes integers it keeps its pixels from 0 to 255.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int, optional
        Channels, height and width, which images need, and an array must have, alone or as a batch of one.
    mean, std : sequence of float, optional
        One number for all channels, or one for each: subtracted, and divided by. For images only.
    integers : bool
        Whether the model takes integers.
    channels_last : bool
        Whether the model is said to take the channels last; the shape has them first.
    named : bool
        Whether the shape is that of the option ``--shape``.

    Raises
    ------
    DatasetError, OSError, ValueError
        If the file cannot be read, or does not fit.
    """
    normalised = {name: values for name, values in (("mean", mean), ("std", std)) if values is not None}
    if path.suffix.lower() == ".npy":
        for name in normalised:
            raise ValueError(f"{name}: is for image files; the array in {path} is taken as it is")
        array = _array(path)
        if shape is not None and array.shape not in (shape, (1, *shape)):
            raise ValueError(
                f"{path}: has shape {array.shape}, expected {shape}{_hint(array.shape, shape, channels_last)}"
            )
        return array
    with reading(f"{path}: cannot be read"):
        content = path.read_bytes()
    if shape is None:
        raise ValueError(f"{path}: is an image, and the model does not say how large its inputs are; give --shape")
    if len(shape) != 3 or shape[0] not in CHANNELS:
        raise ValueError(_no_picture(path, shape, channels_last=channels_last, named=named))
    for name, values in normalised.items():
        if integers:
            raise ValueError(f"{name}: the model takes integers, which are the pixels themselves; leave it out")
        if len(values) not in (1, shape[0]):
            raise ValueError(f"{name}: expected one number or {shape[0]}, got {len(values)}")
        if not all(0 <= value <= 1 for value in values) or (name == "std" and 0 in values):
            least = "above 0" if name == "std" else "from 0"
            raise ValueError(
                f"{name}: expected numbers {least} to 1, as of pixels from 0 to 1, got {' '.join(map(str, values))}; "
                "divide those of pixels from 0 to 255 by 255"
            )
    with pillow_limits():
        pixels = decoded(content, (shape[1], shape[2]), shape[0], str(path))
    if integers:
        return np.asarray(np.rint(pixels), np.float32)
    centre, spread = (np.reshape(np.asarray(values, np.float64), (-1, 1, 1)) for values in (mean or [0], std or [1]))
    return np.asarray((pixels / 255 - centre) / spread, np.float32)


def _hint(found: tuple[int, ...], shape: tuple[int, ...], channels_last: bool) -> str:
    """Return what helps an array of another shape than expected, if channels are not where they are expected."""
    if channels_last and len(shape) == 3 and shape[0] not in CHANNELS and shape[1] in CHANNELS:
        return "; the model takes the channels first, so leave --channels-last out"
    last = _fits(_last_first(found), shape)
    return "; its channels are last, expected them first: numpy.moveaxis(array, -1, 0)" if last else ""


def _no_picture(path: Path, shape: tuple[int, ...], *, channels_last: bool, named: bool) -> str:
    """Return why an image file is no input of a shape, and what helps."""
    triple = len(shape) == 3
    if named and not channels_last:
        return f"shape: {path} is an image, expected channels (1 or 3), height and width, got {_sizes(shape)}"
    if channels_last and triple and shape[1] in CHANNELS:
        return f"channels-last: the model takes {_sizes(_first_last(shape))}, channels first; leave --channels-last out"
    last = triple and shape[2] in CHANNELS and not channels_last
    helps = "if these are height, width and channels, add --channels-last" if last else "give an array (.npy)"
    return f"{path}: is an image, but the model takes inputs of shape {shape}; {helps}"


def _array(path: Path) -> NDArray[Any]:
    """Return the numbers of a ``.npy`` file, as float32 or float64."""
    with reading(f"{path}: cannot be read"):
        values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{path}: holds {values.dtype}, expected real numbers")
    return np.asarray(values, np.float64 if values.dtype == np.float64 else np.float32)
