"""Models that can be evaluated only: files and services, called with tensors, arrays or data frames."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad.gradients.evaluating.arrays import TypedModel, numbers
from approxgrad.gradients.evaluating.checks import checked_batch_size
from approxgrad.gradients.evaluating.targets import as_outputs
from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.provenance.digests import content_digest

Array = NDArray[Any]


def _log(outputs: Array) -> Array:
    return np.log(outputs)


def _logit(outputs: Array) -> Array:
    return np.log(outputs) - np.log1p(-outputs)


TRANSFORMS: dict[str, Callable[[Array], Array]] = {"log": _log, "logit": _logit}
"""What turns probabilities into logits: `log` those of a softmax, up to a constant for each row, `logit` any others."""


class BlackBox(TypedModel, ABC):
    """Base class of models that can be evaluated only.

    A call takes a tensor, an array or a data frame of shape (N, ...) and returns the outputs of shape (N, outputs): a
    tensor on the same device for a tensor, else an array. Nothing is written to what the caller gives.

    Parameters
    ----------
    transform : str or callable, optional
        Applied to the outputs, an array: ``log`` or ``logit`` for probabilities, in float64, or a function of your own.
    batch_size : int, optional
        Largest number of rows that the model takes at once.
    fixed_batch : bool
        Whether the model takes batches of just `batch_size` rows: the last one is filled up with its last row.
    channels_last : bool
        Whether the model takes images as (N, height, width, channels), while inputs have channels first.
    round_inputs : bool
        Whether inputs are rounded to the type that the model takes. Without, numbers that this type does not hold are
        refused, because a step of a difference could be lost.

    Attributes
    ----------
    dtype : numpy dtype
        What the model takes; a subclass sets it, float32 by default.
    shape : tuple of int or None
        Shape of one input as the caller gives it, with None for an axis of any length; None if it is not known.

    Raises
    ------
    ModelError
        A call: if inputs do not fit the model, or it fails.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    shape: tuple[int | None, ...] | None = None

    def __init__(
        self,
        *,
        transform: str | Callable[[Array], Array] | None = None,
        batch_size: int | None = None,
        fixed_batch: bool = False,
        channels_last: bool = False,
        round_inputs: bool = False,
    ) -> None:
        if not (transform is None or callable(transform) or transform in TRANSFORMS):
            raise ValueError(
                f"transform: got {transform!r}, expected {', '.join(TRANSFORMS)} or a function of an array"
            )
        if fixed_batch and batch_size is None:
            raise ValueError("batch_size: is missing, expected the number of rows that a fixed batch has")
        self.transform = transform
        self.batch_size = checked_batch_size(batch_size)
        self.fixed_batch = fixed_batch
        self.channels_last = channels_last
        self.round_inputs = round_inputs

    @abstractmethod
    def outputs(self, rows: Array) -> Array:
        """Return the outputs (B, ...) of one batch, an array of the model's type and layout that may be written to."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the model is read from, the main one first."""
        return ()

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each of the files, by its place beside the first one."""
        files = self.files
        return {Path(os.path.relpath(path, files[0].parent)).as_posix(): content_digest(path) for path in files}

    def close(self) -> None:
        """Free what the model holds; it can be called several times."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, inputs: Any) -> Any:
        """Return the outputs at inputs of shape (N, ...)."""
        if not isinstance(inputs, torch.Tensor):
            if hasattr(inputs, "columns"):
                self.check_columns(list(inputs.columns))
            return self.evaluate(_rows(inputs))
        tensor = inputs.detach().cpu()
        # numpy has no bfloat16; float32 holds all of its numbers.
        rows = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return as_outputs(self.evaluate(rows)).to(inputs.device)

    def evaluate(self, rows: Array) -> Array:
        """Return the outputs (N, ...) at an array (N, ...), batch by batch."""
        found = self._in_batches(self._laid_out(rows))
        return found if self.transform is None else self._transformed(found)

    def _laid_out(self, rows: Array) -> Array:
        """Return rows as the model takes them."""
        rows = self._typed(self._checked(rows))
        return np.moveaxis(rows, 1, -1) if self.channels_last and rows.ndim > 2 else rows

    def _in_batches(self, rows: Array) -> Array:
        size = self.batch_size or len(rows)
        parts = [self._part(rows[start : start + size], size) for start in range(0, len(rows), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _part(self, rows: Array, size: int) -> Array:
        number = len(rows)
        if self.fixed_batch and number < size:
            rows = np.concatenate([rows, np.repeat(rows[-1:], size - number, axis=0)])
        found = np.asarray(self.outputs(np.array(rows, order="C")))
        if found.ndim == 0 or len(found) != len(rows):
            helps = "" if len(rows) == 1 else "; batch_size=1 helps if it takes rows one by one"
            raise ModelError(
                f"model: returned shape {found.shape} for {len(rows)} rows, expected an output for each row{helps}"
            )
        return found[:number]

    def _checked(self, rows: Array) -> Array:
        if rows.ndim == 0 or len(rows) == 0:
            raise ModelError(f"inputs: got shape {rows.shape}, expected (N, ...) with at least one row")
        expected = self.shape
        if expected is None or _fits(rows.shape[1:], expected):
            return rows
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        helps = ""
        if not self.channels_last and _fits(rows.shape[2:] + rows.shape[1:2], expected):
            helps = "; channels_last=True is for a model with the channels last, and inputs with the channels first"
        elif self.channels_last and _fits(rows.shape[-1:] + rows.shape[1:-1], expected):
            helps = "; inputs have the channels first, the model gets them last"
        elif not self.channels_last and _fits(rows.shape[-1:] + rows.shape[1:-1], expected):
            helps = "; these inputs have the channels last, the model takes them first"
        raise ModelError(f"inputs: got shape {rows.shape}, the model takes (N, {wanted}){helps}")

    def _typed(self, rows: Array) -> Array:
        if rows.dtype == self.dtype:
            return rows
        with np.errstate(over="ignore", invalid="ignore"):
            if np.issubdtype(self.dtype, np.integer):
                if np.isnan(rows).any():
                    raise ModelError(f"inputs: hold NaN, the model takes {self.dtype}")
                limits = np.iinfo(self.dtype)
                typed = np.clip(np.rint(rows), limits.min, limits.max).astype(self.dtype)
            else:
                typed = rows.astype(self.dtype)
            back = typed.astype(rows.dtype)
        if not (self.round_inputs or np.array_equal(back, rows, equal_nan=rows.dtype.kind == "f")):
            raise ModelError(
                f"inputs: are {rows.dtype}, the model takes {self.dtype}, which does not hold all of their numbers; "
                "convert them first, or pass round_inputs=True if the rounding is to be part of the model"
            )
        return typed

    def _transformed(self, found: Array) -> Array:
        name, rows = self.transform, len(found)
        if callable(name):
            try:
                result = np.asarray(name(found))
            except Exception as error:
                raise ModelError(f"transform: fails ({one_line(f'{type(error).__name__}: {error}')})") from error
            if result.ndim == 0 or len(result) != rows:
                raise ModelError(
                    f"transform: returned shape {result.shape}, expected an output for each of {rows} rows"
                )
            return result
        with np.errstate(divide="ignore", invalid="ignore"):
            result = TRANSFORMS[str(name)](found.astype(np.float64))
        bad = ~np.isfinite(result)
        if bad.any():
            below = " and below 1" if name == "logit" else ""
            raise ModelError(
                f"transform: the {name} of the output {float(found[bad][0]):g} is not finite; expected probabilities "
                f"above 0{below}; explain logits or margins if the model has them"
            )
        return result


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(want in (None, got) for want, got in zip(expected, shape, strict=True))


def _rows(inputs: Any) -> Array:
    """Return an array or a data frame as an array of floats."""
    try:
        return numbers(inputs if hasattr(inputs, "to_numpy") else np.asarray(inputs), "inputs")
    except (TypeError, ValueError) as error:
        raise ModelError(one_line(error)) from error
