"""A model compiled for evaluation: fused layers, whose outputs differ from the model's by rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from approxgrad.gradients.evaluating.checks import check_deterministic
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.rows import Rows
from approxgrad.gradients.evaluating.small_images import Geometry, Product, product
from approxgrad.gradients.evaluating.wrapping import ModelWrapper

SHAPES = 64
"""Input shapes that a model is compiled for at most: more are refused, since each costs seconds."""

PADDED_SHARE = 16
"""A batch is padded by less than one part in so many, so that batches of similar sizes share a compilation."""


class CompiledModel(ModelWrapper):
    """A model for evaluation only, compiled by ``torch.compile`` with its weights as constants.

    Convolutions are fused with the normalisation and activation that follow. An instance is a model like any other:
    give it to :func:`approxgrad.attribute` or a gradient method of captum together with finite differences.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. It is copied, so later changes of its weights have no effect.

    Raises
    ------
    TypeError
        If the model is not an ``nn.Module``, or is compiled already.
    ValueError
        If one of its layers is in training mode; at the first evaluation of a shape, if the compiler fails, for example
        without a C++ compiler, or if the outputs differ from the model's by more than rounding.

    Notes
    -----
    Outputs differ from the model's by a few eps of their size. There is no gradient. Every new input shape costs some
    seconds of compiling; batches are padded with copies of their last row, see :func:`padded_size`.
    """

    weights_in_order = True
    """The compiler reorders weights once, so small batches are as fast as large ones on a CPU."""

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module to compile, got {type(model).__name__}")
        check_deterministic(model)
        own = copy.deepcopy(model).requires_grad_(requires_grad=False)
        for layer in own.modules():
            # The layout of constants cannot change later.
            if type(layer) is nn.Conv2d and layer.weight.device.type == "cpu" and "forward" not in vars(layer):
                layer.to(memory_format=torch.channels_last)
                vars(layer)["forward"] = _fast_forward(layer)
        super().__init__(own)
        self._prepared: set[torch.Size] = set()
        # The compiler cannot reorder constant weights of double precision.
        self._constants = all(parameter.dtype != torch.float64 for parameter in own.parameters())
        self._compiled = torch.compile(own, dynamic=False)

    def __call__(self, inputs: Tensor, *arguments: Any) -> Any:
        """Evaluate the model.

        Parameters
        ----------
        inputs : Tensor
            Shape (N, ...).
        *arguments
            Further arguments of the model; a tensor whose first axis has length N is taken row by row.
        """
        rows = len(inputs)
        filled = padded_size(rows)
        batch = [_filled(value, rows, filled) for value in (inputs, *arguments)]
        new = inputs.shape[1:] not in self._prepared
        if new:
            # Makes the matrices of small images before they become constants.
            with evaluation():
                self.__wrapped__(*batch)
        outputs = self._evaluate(*batch)[:rows]
        if new:
            self._check(inputs, arguments, outputs)
            self._prepared.add(inputs.shape[1:])
        return outputs

    def _evaluate(self, *batch: Any) -> Any:
        # Both take a second to import.
        import torch._dynamo
        import torch._inductor.config

        limits = torch._dynamo.config.patch(recompile_limit=SHAPES, fail_on_recompile_limit_hit=True)
        constants = torch._inductor.config.patch(freezing=self._constants)
        try:
            with limits, constants, evaluation():
                return self._compiled(*batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n")[:2]).strip()
            needs = "; it needs a C++ compiler and Python's headers, on Debian g++ and python3-dev" * ("Cpp" in reason)
            raise ValueError(f"compile: torch.compile cannot compile this model here ({reason}){needs}") from error

    def _check(self, inputs: Tensor, arguments: tuple[Any, ...], outputs: Tensor) -> None:
        """Refuse outputs that are not the module's, as where weights differ between calls."""

        def module(*batch: Any) -> Any:
            # With gradients on, the layers do not use their fast forward.
            with torch.enable_grad():
                return self.__wrapped__(*batch)

        rows = Rows(module, (inputs,), arguments)
        found = outputs[rows.chosen].double().reshape(len(rows.chosen), -1)
        if not rows.agree(rows.alone(), found):
            raise ValueError(
                "compile: the compiled model differs from the module by more than rounding, so it cannot be used here"
            )


def _fast_forward(layer: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    """Return a forward of a convolution that uses the product of small images where there is one."""
    geometry = None
    if layer.padding_mode == "zeros":
        geometry = Geometry.of(layer.weight, layer.stride, layer.padding, layer.dilation, layer.groups)
    products: dict[torch.Size, Product | None] = {}

    def forward(input: Tensor) -> Tensor:
        if torch.is_grad_enabled() or input.ndim != 4:
            return type(layer).forward(layer, input)
        if input.shape[2:] not in products:
            products[input.shape[2:]] = product(layer.weight, geometry, input.shape[2:])
        fast = products[input.shape[2:]]
        return type(layer).forward(layer, input) if fast is None else fast(input, layer.bias)

    return forward


def padded_size(rows: int) -> int:
    """Return the size to which a batch is padded: the next multiple of a power of two, at most a 16th of the batch."""
    unit = 1 << max(0, rows.bit_length() - PADDED_SHARE.bit_length())
    return -(-rows // unit) * unit


def _filled(value: Any, rows: int, filled: int) -> Any:
    """Repeat the last row of a tensor that has one row for each input."""
    if filled == rows or not isinstance(value, Tensor) or value.ndim == 0 or len(value) != rows:
        return value
    return torch.cat([value, value[-1:].expand(filled - rows, *value.shape[1:])])
