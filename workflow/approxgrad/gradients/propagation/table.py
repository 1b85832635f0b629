"""Which rule each of torch's basic operations has."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from approxgrad.gradients.propagation.elementwise import ELEMENTWISE
from approxgrad.gradients.propagation.linear import (
    Converted,
    Copied,
    Interpolation,
    Item,
    Linear,
    Padded,
    Reshaped,
    Rolled,
    Same,
    Sum,
    Written,
)
from approxgrad.gradients.propagation.normalising import (
    BatchNorm,
    GroupNorm,
    Largest,
    LayerNorm,
    LogSoftmax,
    LogSumExp,
    Softmax,
    VectorNorm,
)
from approxgrad.gradients.propagation.pooling import MaxPool
from approxgrad.gradients.propagation.products import Affine, Convolution, Product, Quotient
from approxgrad.gradients.propagation.rules import LogSigmoid, NoRuleError, Pointwise, Rule, Whole, shortened
from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten
RULES: dict[Any, type[Rule]] = {operator.getitem: Item}


def register(rule: type[Rule], *names: str) -> None:
    """Make a rule that of basic operations, each named as in torch, such as ``add.Tensor``."""
    for name in names:
        packet, _, overload = name.partition(".")
        RULES[getattr(getattr(aten, packet), overload or "default")] = rule


register(Same, "clone", "alias", "detach", "lift_fresh_copy")
register(Converted, "_to_copy")
register(Copied, "copy")
register(Written, "slice_scatter")
register(Rolled, "roll")
register(Reshaped, "view", "_unsafe_view")
register(
    Linear,
    *("permute", "transpose.int", "t", "expand", "squeeze", "squeeze.dim"),
    *(
        "squeeze.dims",
        "unsqueeze",
        "slice.Tensor",
        "select.int",
        "split.Tensor",
        "split_with_sizes",
        "unsafe_split.Tensor",
    ),
    *("unbind.int",),
    *("cat", "stack", "flip", "repeat", "tril", "triu", "diagonal", "unfold", "select_scatter"),
    *("index.Tensor", "index_select", "gather", "where.self", "masked_fill.Tensor"),
    *("index_put", "index_add", "scatter_add"),
    *("neg", "mean", "mean.dim", "sum", "sum.dim_IntList", "cumsum", "im2col", "col2im"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
    *("replication_pad1d", "replication_pad2d", "replication_pad3d"),
)
register(
    Interpolation,
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d"),
    *("upsample_trilinear3d", "upsample_bicubic2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d"),
    *("_upsample_nearest_exact3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
)
register(Sum, "add.Tensor", "sub.Tensor", "add.Scalar", "sub.Scalar", "rsub.Scalar", "rsub.Tensor")
register(Padded, "constant_pad_nd", "masked_fill.Scalar")
register(Product, "mul.Tensor", "mul.Scalar", "mm", "bmm", "mv")
register(Quotient, "div.Tensor", "div.Scalar")
register(Affine, "addmm")
register(LogSigmoid, "log_sigmoid_forward")
register(Convolution, "convolution")
register(BatchNorm, "native_batch_norm")
register(LayerNorm, "native_layer_norm")
register(GroupNorm, "native_group_norm")
register(Softmax, "_softmax", "_safe_softmax")
register(LogSoftmax, "_log_softmax")
register(LogSumExp, "logsumexp")
register(VectorNorm, "linalg_vector_norm")
register(Largest, "amax", "amin", "maximum", "minimum")
register(MaxPool, "max_pool2d_with_indices", "max_pool3d_with_indices")
register(MaxPool, "adaptive_max_pool2d", "adaptive_max_pool3d")
RULES |= dict.fromkeys(ELEMENTWISE, Pointwise)


def rule_of(graph: Graph, node: fx.Node, dtype: torch.dtype, unit: float = 1.0) -> Rule:
    """Return the rule of a node; :class:`Whole` where there is none, or for masks and other values without changes.

    Parameters
    ----------
    graph, node
        Where the operation is.
    dtype, unit
        Precision of the changes, and what they are multiples of in short numbers.
    """
    short = dtype.itemsize < torch.float32.itemsize
    try:
        if node.target is not operator.getitem and not all(own in graph.floating for own in graph.moving(node)):
            raise NoRuleError
        kind = RULES[node.target]
        rule = kind(graph, node, dtype)
        if rule.several and any(user.args[1:] != (0,) for user in node.users):
            raise NoRuleError  # of several results, such rules have the change of the first
        if not short or rule.linear:
            return rule
        if kind is MaxPool or kind is Largest:
            rule.unit = unit
            return rule
        return shortened(kind(graph, node, torch.float32), dtype, unit)
    except (KeyError, NoRuleError):
        return shortened(Whole(graph, node, torch.float32), dtype, unit) if short else Whole(graph, node, dtype)
