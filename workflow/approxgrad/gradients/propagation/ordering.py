"""Max-pooling before functions that never fall: the same numbers, of which the function then computes fewer."""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten

NEVER_FALL = (aten.relu.default, aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default)
"""Functions of one tensor and of numbers; they round nothing, so that the order changes no bit."""


def pool_first(graph: fx.Graph) -> None:
    """Let max-pools that alone read such a function read what it reads, and the function read the pool."""
    for pool in list(graph.nodes):
        if pool.target is not aten.max_pool2d_with_indices.default:
            continue
        function, users = pool.args[0], list(pool.users)
        alone = len(function.users) == len(users) == len(function.all_input_nodes) == 1
        if function.target not in NEVER_FALL or not alone or users[0].args[1:] != (0,):
            continue
        (largest,) = users
        pool.replace_input_with(function, function.args[0])
        largest.append(function)
        largest.replace_all_uses_with(function)
        function.replace_input_with(function.args[0], largest)
        function.meta = dict(largest.meta)
