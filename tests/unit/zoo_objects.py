"""Zoo: callables of every kind, and objects with attributes of their own."""

import functools
import threading
from unittest import mock

import torch
from torch import Tensor, nn

from zoo import equal
from zoo_parts import convolution, function, mlp, small_images


def with_attributes(thing, **attributes):
    for name, value in attributes.items():
        setattr(thing, name, value)
    return thing


# Functions and objects


class Service:
    """A callable object with attributes of its own."""

    n_steps = 7
    memory_budget = "small"
    weights_in_order = object()
    batch_size = 0
    training = True
    device = "nowhere"
    shape = None

    def __call__(self, x):
        return function(x)

    def predict(self, x):
        return function(x)

    @classmethod
    def of_class(cls, x):
        return function(x)

    @staticmethod
    def static(x):
        return function(x)


class Oracle:
    """Has every attribute."""

    def __getattr__(self, name):
        return Oracle()

    def __call__(self, x=None, *rest):
        return function(x) if isinstance(x, Tensor) else Oracle()


class Touchy:
    """Fails for every attribute, with another error than AttributeError."""

    def __getattr__(self, name):
        raise RuntimeError(f"no connection, so no {name}")

    def __call__(self, x):
        return function(x)


class Odd:
    """Empty, unhashable, equal to everything and without a text of its own."""

    __hash__ = None
    __slots__ = ("__weakref__", "scale")

    def __init__(self):
        self.scale = 2

    def __len__(self):
        return 0

    def __bool__(self):
        raise ValueError("ambiguous")

    def __eq__(self, other):
        raise RuntimeError("compared")

    def __repr__(self):
        raise RuntimeError("shown")

    def __call__(self, x):
        return self.scale * function(x)


class Empty(nn.Module):
    """A module that counts as false."""

    def __len__(self):
        return 0

    def forward(self, x):
        return function(x)


@functools.wraps(function)
def wrapping(x):
    return 3 * function(x)


equal("a function", lambda: function)
equal("a lambda", lambda: lambda x: x.exp() / 4)
equal("a partial function", lambda: functools.partial(torch.pow, exponent=2))
equal("a builtin function of torch", lambda: torch.sin)
equal("an operator of torch", lambda: torch.ops.aten.sin.default)
equal("identity", lambda: lambda x: x)
equal("a bound method", lambda: Service().predict)
equal("a method of a class", lambda: Service.of_class)
equal("a static method", lambda: Service.static)
equal("the forward of a module", lambda: convolution().forward, small_images)
equal("a lambda around a module", lambda: lambda x, net=convolution(): net(x), small_images)  # noqa: B008
equal("a partial around a module", lambda: functools.partial(convolution()), small_images)
equal("an object with attributes named like ours", Service)
equal("an object that has every attribute", Oracle)
equal("an object that fails for every attribute", Touchy)
equal("an object that is empty, unhashable and not to be shown", Odd)
equal("a mock", lambda: mock.MagicMock(wraps=function, side_effect=function), shared=False)
equal("a module that is empty", lambda: Empty().eval())
equal(
    "a module with attributes named like ours",
    lambda: with_attributes(
        convolution(),
        n_steps=9,
        memory_budget=1,
        weights_in_order=True,
        batch_size=0,
        step="x",
        scheme=None,
        gradient=torch.ones(3),
    ),
    small_images,
)
equal("a wrapper that does something else than what it wraps", lambda: wrapping)
equal(
    "a wrapper of a module that does something else",
    lambda: with_attributes(lambda x: function(x).flatten(1), __wrapped__=convolution()),
    small_images,
)
equal("a wrapper of itself", lambda: wrapping_itself())
equal("a wrapper of a number", lambda: with_attributes(lambda x: function(x), __wrapped__=3))
equal("an object that wraps a module and scales it", lambda: Scaled(convolution()), small_images)
equal(
    "a wrapped module that is in training mode and not called",
    lambda: with_attributes(lambda x: function(x), __wrapped__=mlp(nn.Dropout(0.5)).train()),
)
equal("slow", lambda: Slow())


class Scaled:
    def __init__(self, net):
        self.__wrapped__ = net

    def __call__(self, x):
        return -2 * self.__wrapped__(x + 0.5)


class Slow:
    def __call__(self, x, wait=threading.Event()):  # noqa: B008 - never set
        wait.wait(0.001)
        return function(x)


def wrapping_itself():
    made = functools.partial(function)
    made.__wrapped__ = made
    return made
