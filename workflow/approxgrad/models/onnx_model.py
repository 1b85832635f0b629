"""Models in ONNX files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from approxgrad.messages import one_line
from approxgrad.models.black_box import Array, BlackBox
from approxgrad.models.kind import ModelError
from approxgrad.models.onnx_file import WITHOUT_ZIPMAP, Port, read_onnx
from approxgrad.models.onnx_runtimes import RUNTIMES, Provider, Session, said


class OnnxModel(BlackBox):
    """A model in an ONNX file, for :func:`approxgrad.attribute` and captum over a :class:`approxgrad.FiniteDifference`.

    A call takes a tensor, an array or a data frame of shape (N, ...), and returns the outputs as
    :class:`approxgrad.models.black_box.BlackBox` describes. The model can be pickled: the file is opened again.

    Parameters
    ----------
    path : path
        The file. Weights that it keeps in other files are looked for beside it.
    input, output : str, optional
        Name of the explained input and output; needed if there are several, of real floats for the output.
    constants : mapping of str to array, optional
        Values of all other inputs. For an input with the rows' own first axis it is the value for one row.
    runtime : str
        ``onnxruntime`` or ``openvino``, which computes in float32 here even where bfloat16 is faster.
    threads : int
        Threads of the runtime. Results may depend on them.
    providers : sequence, optional
        What computes, as onnxruntime takes it, such as ``["CUDAExecutionProvider"]``; by default the CPU.
    transform, batch_size, channels_last, round_inputs
        As of :class:`approxgrad.models.black_box.BlackBox`. A fixed size of a batch is read from the file.

    Attributes
    ----------
    path : Path
        The file.
    input, output : str
        Names of the explained ones.
    dtype, shape
        Of one input, as of :class:`approxgrad.models.black_box.BlackBox`.

    Raises
    ------
    ModelError
        If the file is missing, damaged or not a model of this kind, or the runtime cannot load it; a call: if the
        inputs do not fit, or the runtime fails.
    ValueError, TypeError
        If an argument is not valid.

    Examples
    --------
    >>> model = OnnxModel("classifier.onnx", transform="log")  # doctest: +SKIP
    >>> attribute(model, images, target=3, gradient=FiniteDifference(0.01))  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        input: str | None = None,
        output: str | None = None,
        constants: Mapping[str, ArrayLike] | None = None,
        runtime: str = "onnxruntime",
        threads: int = 1,
        providers: Sequence[Provider] | None = None,
        transform: str | Callable[[Array], Array] | None = None,
        batch_size: int | None = None,
        channels_last: bool = False,
        round_inputs: bool = False,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path: expected the path of an ONNX file, got {type(path).__name__}")
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime: got {runtime!r}, expected {' or '.join(RUNTIMES)}")
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads: expected a positive integer, got {threads!r}")
        self.path = Path(path).absolute()
        self._arguments = {
            "input": input,
            "output": output,
            "constants": constants,
            "runtime": runtime,
            "threads": threads,
            "providers": providers,
            "transform": transform,
            "batch_size": batch_size,
            "channels_last": channels_last,
            "round_inputs": round_inputs,
        }
        self._file = read_onnx(self.path)
        self._port = self._explained_input(input, constants or {})
        own_output = self._explained_output(output)
        self.input, self.output = self._port.name, own_output.name
        sizes = self._port.sizes
        fixed = sizes[0] if sizes else None
        if fixed is not None and batch_size not in (None, fixed):
            raise ValueError(f"batch_size: got {batch_size}, the model takes batches of {fixed}; leave it out")
        super().__init__(
            transform=transform,
            batch_size=batch_size if fixed is None else fixed,
            fixed_batch=fixed is not None,
            channels_last=channels_last,
            round_inputs=round_inputs,
        )
        self.dtype = np.dtype(self._port.dtype)
        if runtime == "openvino" and self.dtype == np.float64:
            raise ModelError(f"{path}: takes float64, which OpenVINO computes in float32; take runtime='onnxruntime'")
        if sizes is not None:
            self.shape = (sizes[-1], *sizes[1:-1]) if channels_last and len(sizes) > 2 else sizes[1:]
        self._constants = {name: self._constant(name, value) for name, value in (constants or {}).items()}
        self._file.check_external()
        self._session: Session | None = RUNTIMES[runtime](self.path, self.output, threads, providers)

    def __repr__(self) -> str:
        return f"OnnxModel({self.path.name!r}, input {self._port}, output {self.output})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (str(self.path), self._arguments)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and those beside it that hold its weights."""
        return (self.path, *sorted(self._file.external))

    def close(self) -> None:
        """Free the memory of the runtime."""
        self._session = None

    def outputs(self, rows: Array) -> Array:
        """Return the outputs (B, ...) of a batch."""
        if self._session is None:
            raise ModelError(f"{self.path.name}: is closed")
        feeds = {self.input: rows}
        for name, (value, by_row) in self._constants.items():
            feeds[name] = np.repeat(value[None], len(rows), axis=0) if by_row else value
        try:
            return self._session(feeds)
        except Exception as error:
            what = f"{self.path.name}: fails for inputs of shape {rows.shape}, takes {self._port}"
            raise ModelError(f"{what} ({said(error)})") from error

    def _checked(self, rows: Array) -> Array:
        sizes = self._port.sizes
        if sizes is not None and rows.ndim == len(sizes) + 1 and rows.shape[1:] == sizes:
            raise ModelError(
                f"inputs: got shape {rows.shape}, the model takes {self._port}, one row without an axis for several; "
                "export it with a first axis for the batch"
            )
        return super()._checked(rows)

    def _explained_input(self, name: str | None, constants: Mapping[str, ArrayLike]) -> Port:
        ports = {port.name: port for port in self._file.inputs}
        for own in constants:
            if own not in ports:
                raise ValueError(f"constants: got {own!r}, the model's inputs are {_listed(ports.values())}")
        if not ports:
            raise ModelError(f"{self.path}: takes no inputs")
        free = [port for port in ports.values() if port.name not in constants]
        if name is None and len(free) > 1:
            raise ModelError(
                f"{self.path}: takes {_listed(free)}; name the explained one as input=, and give values of the others "
                "as constants={name: array}"
            )
        if name is not None and name not in ports:
            raise ValueError(f"input: got {name!r}, the model's inputs are {_listed(ports.values())}")
        if name in constants or not free:
            raise ValueError(
                f"constants: hold {name or ', '.join(constants)}, expected all inputs but the explained one"
            )
        port = free[0] if name is None else ports[name]
        lacking = [own for own in free if own is not port]
        if lacking:
            raise ValueError(f"constants: lack a value of {_listed(lacking)}")
        if port.dtype is None or port.shape == ():
            raise ModelError(f"{self.path}: input {port}, expected a tensor of real numbers with an axis of rows")
        return port

    def _explained_output(self, name: str | None) -> Port:
        ports = self._file.outputs
        floats = [port for port in ports if port.dtype is not None and port.dtype.kind == "f"]
        if name is not None:
            if name not in [port.name for port in ports]:
                raise ValueError(f"output: got {name!r}, the model's outputs are {_listed(ports)}")
            floats = [port for port in floats if port.name == name]
        if not floats:
            own = [port for port in ports if name in (None, port.name)]
            helps = f"; {WITHOUT_ZIPMAP}" if any(port.kind in ("sequence", "map") for port in ports) else ""
            raise ModelError(f"{self.path}: output {_listed(own)}, expected a tensor of float numbers{helps}")
        if len(floats) > 1:
            raise ModelError(f"{self.path}: returns {_listed(floats)}; name the explained one as output=")
        return floats[0]

    def _constant(self, name: str, value: ArrayLike) -> tuple[Array, bool]:
        """Return the value of another input, and whether it belongs to a single row."""
        port = next(port for port in self._file.inputs if port.name == name)
        given = np.asarray(value)
        if port.dtype is None or not np.can_cast(given.dtype, np.complex128):
            raise ValueError(f"constants: {name} holds {given.dtype}, the model takes {port}")
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.ascontiguousarray(given, port.dtype).reshape(given.shape)
            same = np.array_equal(found.astype(given.dtype), given, equal_nan=given.dtype.kind == "f")
        if not same and port.dtype.kind != "f":
            raise ValueError(f"constants: {name} holds numbers that {port.dtype} does not hold, the model takes {port}")
        own, sizes = self._port.shape, port.sizes
        by_row = bool(port.shape and own) and isinstance(own[0], str) and port.shape[0] == own[0]  # type: ignore[index]
        if sizes is not None:
            expected = sizes[1:] if by_row else sizes
            if len(expected) != given.ndim or any(
                e not in (None, g) for e, g in zip(expected, given.shape, strict=True)
            ):
                rows = ", for one row" if by_row else ""
                raise ValueError(f"constants: {name} has shape {given.shape}, the model takes {port}{rows}")
        return found, by_row


def _opened(path: str, arguments: dict[str, Any]) -> OnnxModel:
    return OnnxModel(path, **arguments)


def _listed(ports: Any) -> str:
    return one_line(", ".join(map(str, ports)))
