"""Models that a user's own code makes: a factory of networks, and a plain function."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from approxgrad.descriptions import Text, option
from approxgrad.messages import one_line
from approxgrad.models.box_options import Outputs
from approxgrad.models.kind import MODELS, ModelError, ModelKind, Shape
from approxgrad.models.network_kind import Network

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FUNCTION = "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
"""A module and what is defined in it; a module in the working directory comes before an installed one."""


@dataclass(frozen=True, kw_only=True)
class OptionedNetwork(Network):
    """A network that code outside this package makes with options of its own."""

    options: Annotated[dict[Any, Any], option("Keyword arguments of what makes it.")] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """Return also the options that are not keyword arguments, or that a file of weights cannot hold."""
        faults = super().faults()
        for name, value in self.options.items():
            if isinstance(name, str) and name.isidentifier():
                faults += _value_faults(value, f"options.{name}")
            else:
                faults.append(f"options: got the name {name!r}, expected one that Python takes for an argument")
        return faults


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Factory(OptionedNetwork):
    """A network that a function of the user's returns."""

    name: ClassVar[str] = "factory"
    label: ClassVar[str] = "own network"

    factory: Annotated[
        Text,
        option(
            "Your own network, package.module:function; called with input shape, outputs and the options.",
            pattern=FUNCTION,
        ),
    ]

    @property
    def module(self) -> str:
        """The module of the factory."""
        return self.factory.partition(":")[0]

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return what the function makes; a ModelError if it cannot be imported, fails, or does not return a module."""
        from torch import nn

        from approxgrad.models.evaluating import explained, own_function

        function = own_function(self.factory, "factory")
        with explained(f"factory {self.factory}: failed"):
            model = function(input_shape, outputs, **copy.deepcopy(self.options))
        if not isinstance(model, nn.Module):
            raise ModelError(f"factory {self.factory}: returned {type(model).__name__}, expected a torch module")
        return model


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Function(ModelKind):
    """A function of the user's from a batch of inputs to a batch of outputs, without a gradient."""

    name: ClassVar[str] = "function"
    label: ClassVar[str] = "own function"
    differentiable: ClassVar[bool] = False

    function: Annotated[
        Text,
        option(
            "Your own function, package.module:function, from a batch of inputs to a batch of outputs; it takes and"
            " returns numpy arrays or torch tensors. It has no gradient, so only approximated ones are studied.",
            pattern=FUNCTION,
        ),
    ]
    outputs: Outputs = None

    @property
    def module(self) -> str:
        """The module of the function."""
        return self.function.partition(":")[0]

    def open(
        self, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype, file: Path | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the function as a callable from tensors to tensors."""
        from approxgrad.models.opening import opened_function, wanted_outputs

        return opened_function(self.function, shape, wanted_outputs(self.outputs, outputs), device, dtype)


def _value_faults(value: Any, key: str) -> list[str]:
    if isinstance(value, list):
        return [fault for place, item in enumerate(value) for fault in _value_faults(item, f"{key}[{place}]")]
    if isinstance(value, dict):
        names = [fault for own in value for fault in _value_faults(own, f"{key}, a name in it")]
        return names + [fault for own, item in value.items() for fault in _value_faults(item, f"{key}.{own}")]
    if value is None or isinstance(value, (bool, int, float, str)):
        return []
    return [f"{key}: got {one_line(repr(value), 60)}, expected null, true, false, a number, text, a list or a mapping"]
