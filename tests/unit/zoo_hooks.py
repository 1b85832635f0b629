"""Zoo: hooks of every kind."""

import contextlib

from torch import nn

from zoo import equal
from zoo_parts import convolution, small_images

# Hooks


def hooked(register, net=convolution, layer=0):
    def build():
        made = net()
        register(made[layer])
        return made

    return build


class Recorder:
    """A hook that keeps what it sees."""

    def __init__(self):
        self.seen = []

    def __call__(self, layer, given, found):
        self.seen.append((len(given[0]), found))


@contextlib.contextmanager
def global_hook():
    handle = nn.modules.module.register_module_forward_hook(
        lambda layer, given, found: 2 * found if isinstance(layer, nn.Conv2d) else None
    )
    try:
        yield
    finally:
        handle.remove()


equal(
    "a hook that changes outputs",
    hooked(lambda layer: layer.register_forward_hook(lambda layer, given, found: found * 2 + 1)),
    small_images,
)
equal(
    "a hook that changes inputs",
    hooked(lambda layer: layer.register_forward_pre_hook(lambda layer, given: (given[0].sin(),))),
    small_images,
)
equal(
    "a hook that changes outputs in place",
    hooked(lambda layer: layer.register_forward_hook(lambda layer, given, found: found.mul_(2))),
    small_images,
)
equal("a hook that records", hooked(lambda layer: layer.register_forward_hook(Recorder())), small_images)
equal(
    "a hook with keywords that is always called",
    hooked(
        lambda layer: layer.register_forward_hook(
            lambda layer, given, options, found: 2 * found, with_kwargs=True, always_call=True
        )
    ),
    small_images,
)
equal("a hook on the whole model", lambda: with_hook(convolution()), small_images)
equal(
    "a hook on max-pooling",
    hooked(
        lambda layer: layer.register_forward_hook(lambda layer, given, found: given[0].amin((2, 3), keepdim=True)),
        layer=1,
    ),
    small_images,
)
equal(
    "a hook for the backward pass",
    hooked(lambda layer: layer.register_full_backward_hook(lambda layer, given, found: None)),
    small_images,
)
equal("a hook for all modules", convolution, small_images, around=global_hook)
equal("a hook that stores features, which the model then returns", lambda: features(), small_images, shared=False)


def with_hook(net):
    net.register_forward_hook(lambda net, given, found: found.sin())
    return net


def features():
    """The usual way to get at an inner layer: a hook stores it and a function returns it."""
    net, stored = convolution(), {}
    net[0].register_forward_hook(lambda layer, given, found: stored.update(found=found))

    def inner(x):
        net(x)
        return stored["found"].flatten(1)

    return inner
