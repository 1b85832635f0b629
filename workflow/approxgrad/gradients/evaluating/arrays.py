"""Arrays and data frames in place of tensors: what a caller gives to a function of this package, and gets back."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.wrapping import unwrapped

Array = NDArray[Any]

HOW_TO_CONVERT = "convert it with pandas.to_numeric, or encode its classes as numbers"


class TypedModel:
    """A model outside torch that says in `dtype` which numbers it takes: it is given tensors of that type."""

    dtype: np.dtype[Any]

    def __call__(self, inputs: Any) -> Any:
        """Return the outputs of a batch of inputs."""
        raise NotImplementedError

    def check_columns(self, columns: Sequence[Any]) -> None:
        """Refuse, by a ValueError, the columns of a data frame that are not the model's features; by default none."""

    def record(self) -> dict[str, Any]:
        """Return what the metadata of results say of a model that no file describes."""
        return {}


class Given:
    """Inputs as a caller gives them, and the tensors that they are for this package.

    Tensors are what they were, and the model with them. Arrays and data frames are converted once: to the type of the
    model's numbers for an ``nn.Module`` or a :class:`TypedModel`, which are called with tensors. A plain function is
    called with what the caller uses: arrays, or data frames with the same columns.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs.
    inputs : Tensor, array or DataFrame
        Shape (N, ...). Integers and truth values are taken as float64.

    Attributes
    ----------
    inputs, model
        The tensor, and what is to be called with tensors.

    Raises
    ------
    TypeError
        If the inputs are something else, or not real numbers; the line names the column.
    ValueError
        If a column has missing values, or numbers that float64 or the model's type does not hold.
    """

    def __init__(self, model: Model, inputs: Any) -> None:
        self._given = inputs
        self.inputs, self.model = inputs, model
        if not (isinstance(inputs, (Tensor, np.ndarray)) or _is_frame(inputs)):
            kind = type(inputs)
            name = (
                kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"
            )
            raise TypeError(f"inputs: expected a tensor, an array or a pandas DataFrame, got {name}")
        if isinstance(inputs, np.ndarray) or _is_frame(inputs):
            values = numbers(inputs, "inputs")
            self._dtype = inputs.dtype if _keeps_type(inputs) else values.dtype
            module, own = _module(model), behind(model)
            if isinstance(own, TypedModel) and _is_frame(inputs):
                own.check_columns(list(inputs.columns))
            self.inputs = _converted(values, model if module is None else module)
            if module is None and not isinstance(own, TypedModel) and callable(model):
                self.model = _WithArrays(model, inputs.columns if _is_frame(inputs) else None)

    def target(self, target: Any) -> Any:
        """Return targets as a tensor if they are an array or a series, in the order of the inputs."""
        if not (isinstance(target, np.ndarray) or _is_pandas(target)):
            return target
        self._check_index("target", target)
        values = np.asarray(target)
        if values.dtype.kind not in "iu":
            raise TypeError(f"target: expected integers, got {values.dtype}")
        return torch.from_numpy(values.astype(np.int64).reshape(len(values), -1) if values.ndim > 1 else values + 0)

    def baselines(self, baselines: Any) -> Any:
        """Return baselines as a tensor if they are an array, a series by column, or a frame with the same columns."""
        if not (isinstance(baselines, np.ndarray) or _is_pandas(baselines)):
            return baselines
        if _is_pandas(baselines) and _is_frame(self._given):
            baselines = self._by_column(baselines)
        return torch.from_numpy(numbers(baselines, "baselines"))

    def returned(self, result: Tensor) -> Any:
        """Return a result shaped like the inputs as what they are: array or frame, with their type of numbers."""
        if isinstance(self._given, Tensor):
            return result
        with np.errstate(over="ignore"):
            values = result.cpu().double().numpy().astype(self._dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"gradient: beyond the range of {self._dtype}; give inputs of a wider type")
        if not _is_frame(self._given):
            return values
        return type(self._given)(values, index=self._given.index, columns=self._given.columns)

    def _by_column(self, baselines: Any) -> Any:
        columns, own = self._given.columns, baselines.columns if _is_frame(baselines) else baselines.index
        if not (len(own) == len(columns) and own.is_unique and set(own) == set(columns)):
            raise ValueError(f"baselines: are for {_few(own)}, expected the columns of the inputs, {_few(columns)}")
        if not _is_frame(baselines):
            return baselines.loc[columns]
        if len(baselines) > 1:
            self._check_index("baselines", baselines)
        return baselines.loc[:, columns]

    def _check_index(self, name: str, values: Any) -> None:
        if not (_is_frame(self._given) and hasattr(values, "index") and len(values) == len(self._given)):
            return
        if not values.index.equals(self._given.index):
            raise ValueError(
                f"{name}: the index is not that of the inputs; order it with .loc[inputs.index], or pass .to_numpy()"
            )


class _WithArrays:
    """A plain function as a model: it is called with arrays, or with data frames that have these columns."""

    def __init__(self, function: Model, columns: Any) -> None:
        self._function, self._columns = function, columns

    def __call__(self, inputs: Tensor, *arguments: Any) -> Any:
        rows: Any = inputs.detach().cpu().numpy()
        if self._columns is not None:
            rows = sys.modules["pandas"].DataFrame(rows, columns=self._columns)
        found = self._function(rows, *arguments)
        return found.to_numpy() if _is_pandas(found) else found


def numbers(values: Any, name: str) -> Array:
    """Return an array or data frame as a new, writable array of native floats.

    Parameters
    ----------
    values : array, DataFrame or Series
        Real numbers; integers and truth values become float64.
    name : str
        What they are, for messages.

    Raises
    ------
    TypeError, ValueError
        As of :class:`Given`.
    """
    if _is_frame(values):
        columns = [
            _column(values.iloc[:, place], f"{name}: column {own!r}") for place, own in enumerate(values.columns)
        ]
        return np.stack(columns, axis=1) if columns else np.empty((len(values), 0))
    if _is_pandas(values):
        return _column(values, f"{name}:")
    if np.ma.is_masked(values):
        raise ValueError(f"{name}: has masked values; fill them first")
    return _floats(np.asarray(values), f"{name}:", "convert it with astype(float) if it holds numbers")


def _column(column: Any, name: str) -> Array:
    pandas = sys.modules["pandas"]
    own, helps = column.dtype, HOW_TO_CONVERT
    if not (pandas.api.types.is_numeric_dtype(own) or pandas.api.types.is_bool_dtype(own)):
        raise TypeError(f"{name} holds {own}, expected numbers; {helps}")
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(f"{name} is missing (NaN) in row {column.index[missing][0]!r}; fill it or drop the row first")
    values = column.to_numpy()
    if values.dtype.kind == "O":  # a nullable type
        values = np.array(values.tolist())
    return _floats(values, name, helps)


def _floats(values: Array, name: str, helps: str) -> Array:
    kind = values.dtype.kind
    if kind == "f" and values.dtype.itemsize <= 8:
        return np.array(values, values.dtype.newbyteorder("="), order="C", subok=False)
    if kind not in "iub":
        raise TypeError(f"{name} holds {values.dtype}, expected real numbers of up to 64 bits; {helps}")
    found = values.astype(np.float64)
    large = np.abs(found) > 2.0**53
    for own, rounded in zip(values[large].tolist(), found[large].tolist(), strict=True):
        if own != int(rounded):
            raise ValueError(f"{name} holds {own}, which float64 does not hold exactly")
    return found


def _converted(values: Array, model: Any) -> Tensor:
    """Return numbers as a tensor of the type, and on the device, that a model takes."""
    tensor = torch.from_numpy(values)
    dtype: torch.dtype | None = None
    device: Any = "cpu"
    if isinstance(model, nn.Module):
        weight = next((own for own in model.parameters() if own.is_floating_point()), None)
        dtype, device = (None, device) if weight is None else (weight.dtype, weight.device)
    else:
        own = behind(model)
        if isinstance(own, TypedModel):
            dtype = getattr(torch, own.dtype.name) if own.dtype.kind == "f" else torch.float32
    if dtype is None or not (tensor.dtype.is_floating_point and dtype.is_floating_point):
        return tensor.to(device)
    found = tensor.to(dtype)
    lost = torch.isfinite(tensor) & ~torch.isfinite(found)
    if lost.any():
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(f"inputs: {tensor[lost][0].item():g} is beyond the range of {kind}, which the model takes")
    return found.to(device)


def behind(model: Any) -> Any:
    """Return what is called behind the wrappers of this package and any ``functools.partial``."""
    model = unwrapped(model)
    while isinstance(model, functools.partial):
        model = model.func
    return model


def _module(model: Any) -> Any:
    """Return the torch module, or other function of torch, behind a callable; None if it is another function."""
    model = behind(model)
    if inspect.ismethod(model):
        model = model.__self__
    return model if isinstance(model, (nn.Module, torch.jit.ScriptFunction)) else None


def _keeps_type(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "f"


def _is_frame(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index))


def _few(names: Any) -> str:
    shown = ", ".join(map(repr, list(names)[:5]))
    return f"{shown}, ..." if len(names) > 5 else shown
