"""A network as a graph of torch's basic operations, made from a private copy in double precision."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from approxgrad.gradients.evaluating.acceleration import is_compiled
from approxgrad.gradients.evaluating.checks import layers
from approxgrad.gradients.propagation.double import Doubled, Inside, UntraceableError, Watched, refused
from approxgrad.gradients.propagation.ordering import pool_first
from approxgrad.messages import one_line

aten = torch.ops.aten

BASES = (torch.float32, torch.float64)
"""Precisions of the networks that can be traced."""

SHAPED = {
    *(own.default for own in (aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.new_empty_strided)),
    *(own.default for own in (aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like)),
}
"""Operations that make a tensor like another one, but for its numbers."""

PRECISE = (torch.float64, torch.complex128)
"""Precisions of what is computed from the input, apart from integers and masks."""

STATES = 1e-12  # largest relative difference of a graph's output from the network's, both in double precision


class Graph:
    """A network as torch's basic operations on one row, a batch of one, without changes in place.

    Parameters
    ----------
    model : callable
        A ``torch.nn.Module`` in evaluation mode; it is copied and left as it is.
    row : Tensor
        One row of the inputs, of shape (1, ...).

    Attributes
    ----------
    module : Module
        The private copy in double precision.
    dtype, device : torch.dtype, torch.device
        Precision of the model itself, and where it is.
    source, result : fx.Node
        The input and the output.
    nodes : list of fx.Node
        Operations whose result depends on the input, in order.
    constants : dict
        Value of every other node that they read, in double precision.
    shapes : dict
        Shape of the result of each node in :attr:`nodes` and of the input; of the first, where there are several.
    floating : set of fx.Node
        Those of them whose result, or the first, is of floating-point numbers.

    Raises
    ------
    UntraceableError
        If the model cannot be traced, or not be trusted to compute the same in every call.
    """

    def __init__(self, model: Any, row: Tensor) -> None:
        self.module = private_copy(check_followed(model, row))
        self.dtype, self.device = row.dtype, row.device
        point = row.detach().double()
        before = [tensor.clone() for tensor in _state(self.module)]
        self._around = Doubled if row.dtype == torch.float32 else nullcontext
        self._traced = _traced(self.evaluated, point)
        # Tracing has evaluated the copy.
        after = list(_state(self.module))
        if len(before) != len(after) or not all(map(torch.equal, before, after)):
            raise UntraceableError("it changes its buffers or parameters when it is evaluated")
        self.constants: dict[fx.Node, Any] = {}
        self.nodes: list[fx.Node] = []
        self._sort(point)
        self.shapes: dict[fx.Node, torch.Size] = {}
        self.floating: set[fx.Node] = set()
        for node, read, value in self.values(point):
            found = value[0] if isinstance(value, (tuple, list)) else value
            _check_precision(read, value)
            self.shapes[node] = found.shape
            if found.is_floating_point():
                self.floating.add(node)
            if node is self.result:
                self._check_output(value, point)

    def evaluated(self, point: Tensor) -> Any:
        """Return what the copy computes for a point in double precision."""
        with self._around():
            return self.module(point)

    def _sort(self, point: Tensor) -> None:
        """Tell nodes that depend on the input from constants, which are computed here."""
        moving: set[fx.Node] = set()
        self._traced.graph.eliminate_dead_code(_may_go)
        pool_first(self._traced.graph)
        for node in self._traced.graph.nodes:
            if node.target in (aten.as_strided.default, aten.as_strided_.default) and math.prod(node.args[1]) == max(
                node.args[1]
            ):
                # How torch averages over whole maps: a vector of channels is said to be in another order of memory.
                node.target, node.args = aten.view.default, node.args[:2]
            if _is_mutable(node) and set(node.args[0].users) == {node}:
                # What is changed in place is read by nothing else, which the comparison of the outputs confirms.
                node.target = _out_of_place(node.target)
            if node.op == "placeholder":
                self.source = node
                moving.add(node)
            elif node.op == "get_attr":
                self.constants[node] = operator.attrgetter(node.target)(self._traced)
            elif node.op == "output":
                self.result = node.args[0]
            elif moving.isdisjoint(node.all_input_nodes):
                self.constants[node] = self.call(node, {})
            elif node.target in SHAPED:
                # Of what it reads it takes the shape only, which tracing has recorded.
                read = {
                    own: point.new_zeros(own.meta["val"].shape, dtype=own.meta["val"].dtype)
                    for own in node.all_input_nodes
                }
                self.constants[node] = self.call(node, read)
            else:
                moving.add(node)
                self.nodes.append(node)
                _check_operation(node)
        if not isinstance(self.result, fx.Node):
            raise UntraceableError("it returns no single tensor")
        if self.result not in moving or self.result is self.source:
            raise UntraceableError("its output does not depend on the input through operations of torch")

    def _check_output(self, value: Any, point: Tensor) -> None:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim == 0 or len(value) != 1:
            raise UntraceableError("it returns no single tensor of floating-point numbers with an axis for the rows")
        if not value.isfinite().all():
            raise UntraceableError("its output is not finite for the first row")
        expected = self.evaluated(point.clone())
        error = (value - expected).abs().max()
        if value.shape != expected.shape or not bool(error <= STATES * expected.abs().max()):
            raise UntraceableError("it computes something else in every call")

    def values(self, point: Tensor) -> Iterator[tuple[fx.Node, list[Any], Any]]:
        """Evaluate the graph at a point in double precision: yield each node, the values that it reads, and its result.

        The input comes first; the values are those of :meth:`moving`, and freed when no later node reads them.
        """
        known: dict[fx.Node, Any] = {self.source: point}
        last: dict[fx.Node, fx.Node] = {own: node for node in self.nodes for own in node.all_input_nodes}
        yield self.source, [], point
        for node in self.nodes:
            known[node] = self.call(node, known)
            yield node, [known[own] for own in self.moving(node)], known[node]
            for own in node.all_input_nodes:
                if last[own] is node and own is not self.result:
                    known.pop(own, None)

    def call(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        """Return the result of a node for values of the nodes that depend on the input."""
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda own: values[own] if own in values else self.constants[own]
        )
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def moving(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes that a node reads and that depend on the input."""
        return [own for own in node.all_input_nodes if own not in self.constants]


def check_followed(model: Any, row: Tensor) -> nn.Module:
    """Return a model whose layers can be followed for inputs like a row; an UntraceableError says why they cannot."""
    if not isinstance(model, nn.Module):
        raise UntraceableError(f"it is no torch.nn.Module but {type(model).__name__}")
    if is_compiled(model):
        raise UntraceableError("it is compiled; the module that was compiled can be followed")
    for name, layer in layers(model):
        kind = f"layer {name or type(layer).__name__!r} ({type(layer).__name__})"
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise UntraceableError(f"{kind} has hooks")
        for own in (*layer._parameters.values(), *layer._buffers.values()):
            if own is not None and own.is_floating_point() and own.dtype != row.dtype:
                raise UntraceableError(f"{kind} has weights in {own.dtype}, and the inputs are {row.dtype}")
    if row.dtype not in BASES:
        raise UntraceableError(f"its inputs are {row.dtype}, expected float32 or float64")
    return model


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a module in double precision; an UntraceableError if it has none."""
    try:
        copied: nn.Module = copy.deepcopy(model).double()
    except Exception as error:
        raise UntraceableError(f"it cannot be copied: {one_line(error)}") from error
    for _, layer in layers(copied):
        # What this package puts into layers to compute faster belongs to the weights of the original.
        if getattr(vars(layer).get("forward"), "__module__", "").startswith("approxgrad."):
            del vars(layer)["forward"]
    return copied.requires_grad_(False)


def _traced(model: Callable[[Tensor], Any], point: Tensor) -> fx.GraphModule:
    """Trace a model; control flow that depends on shapes is that of one row."""

    def watched(rows: Tensor) -> Any:
        with Watched(rows), Inside(rows.device):
            return functionalize(lambda own: model(own))(rows)

    with refused("tracing"), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _plain_attention():
        traced = make_fx(watched, tracing_mode="real")(point.clone())
        if any(map(_is_mutable, traced.graph.nodes)):
            # What some composite operations of torch change in place is seen in their parts only. Where torch fails
            # at that, such as for cosine similarities, what is read by nothing else can be followed as it is.
            with suppress(RuntimeError):
                traced = make_fx(functionalize(traced), tracing_mode="real")(point.clone())
        return traced


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let nn.MultiheadAttention compute with basic operations."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _check_operation(node: fx.Node) -> None:
    if isinstance(node.target, torch._ops.OpOverload):
        if torch.Tag.nondeterministic_seeded in node.target.tags:
            raise UntraceableError(f"it draws random numbers ({node.target})")
        if _is_mutable(node):
            raise UntraceableError(f"it changes a tensor in place that cannot be followed ({node.target})")


def _check_precision(read: Sequence[Any], value: Any) -> None:
    precise = any(own.dtype in PRECISE for own in tree_leaves(read))
    for own in tree_leaves(value):
        short = isinstance(own, Tensor) and (own.is_floating_point() or own.is_complex()) and own.dtype not in PRECISE
        # Masks times numbers are in the default precision.
        if short and (precise or own.dtype in (torch.float16, torch.bfloat16)):
            raise UntraceableError(f"it converts numbers to {own.dtype}, where differences lose digits")


def _may_go(node: fx.Node) -> bool:
    """Return whether a node that nothing reads does something nevertheless."""
    return node.op in ("placeholder", "output") or _is_mutable(node)


def _is_mutable(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _out_of_place(operation: Any) -> Any:
    """Return the operation that makes a new tensor; the same one if there is none."""
    name = operation._schema.name.removeprefix("aten::")
    other = getattr(aten, name.removesuffix("_"), None)
    return getattr(other, operation._overloadname, operation)


def _state(module: nn.Module) -> Iterable[Tensor]:
    for _, layer in layers(module):
        for tensor in (*layer._parameters.values(), *layer._buffers.values()):
            if tensor is not None:
                yield tensor
