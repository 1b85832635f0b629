"""Zoo: threads, modes and contexts in and around a model, functions along features, and precision."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from zoo import equal, images, normal, positive
from zoo_functional import force
from zoo_parts import convolution, energy, mlp, small_images, wrapped

# Threads, modes, contexts


def in_threads(net, x):
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda scale: net(scale * x), (1.0, 0.5)))


class Guarded(nn.Module):
    """Holds a lock while it computes, which cannot be copied."""

    def __init__(self):
        super().__init__()
        self.net, self.lock = mlp(), threading.Lock()

    def forward(self, x):
        with self.lock:
            return self.net(x)


class Doubling(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        return 2 * found if function is F.linear else found


class Rounding(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        return found.sin() if function is torch.ops.aten.tanh.default else found


def under(mode):
    def evaluate(net, x):
        with mode():
            return net(x)

    return evaluate


equal("starts threads", lambda: wrapped(in_threads, convolution()), small_images)
equal("holds a lock", lambda: Guarded().eval(), shared=False)
equal("torch.jit.fork", lambda: wrapped(lambda net, x: torch.jit.wait(torch.jit.fork(net, x)), mlp()))
equal("a mode of torch functions inside", lambda: wrapped(under(Doubling), mlp()), shared=False)
equal("a mode of dispatch inside", lambda: wrapped(under(Rounding), mlp()), shared=False)
equal("a mode of torch functions around", mlp, around=Doubling)
equal(
    "autocast inside",
    lambda: wrapped(lambda net, x: torch.autocast("cpu", torch.bfloat16)(net)(x).float(), mlp()),
    computes=torch.bfloat16,
    roundings=4,
    step=0.5,
)
equal(
    "autocast around",
    mlp,
    around=lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
    computes=torch.bfloat16,
    roundings=4,
    step=0.5,
)
equal("inference_mode around", convolution, small_images, around=torch.inference_mode)
equal("no_grad around", convolution, small_images, around=torch.no_grad)
equal(
    "anomaly detection around",
    lambda: wrapped(force, energy()),
    around=lambda: torch.autograd.detect_anomaly(check_nan=False),
)
equal("default dtype float64", mlp, normal(3, 5, dtype=torch.float64), around=lambda: default_dtype(torch.float64))
equal("default dtype bfloat16", lambda: mlp().float(), around=lambda: default_dtype(torch.bfloat16))
equal(
    "default device meta",
    lambda: mlp().to_empty(device="cpu").apply(filled),
    lambda: torch.linspace(-1, 1, 15, device="cpu").reshape(3, 5),
    around=lambda: torch.device("meta"),
)
equal("deterministic algorithms demanded", convolution, small_images, around=lambda: deterministic())


def filled(layer):
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            values = torch.arange(parameter.numel(), device="cpu", dtype=torch.float32).sin()
            parameter.copy_(values.reshape(parameter.shape))


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


# Functions along features and numbers of other kinds inside

SPARSE = torch.eye(4, 5).to_sparse()
double = normal(3, 6, dtype=torch.float64)
equal("sorted features", lambda: lambda x: (x.sort(1).values * torch.arange(1, 7)).sin(), double)
equal("the largest features", lambda: lambda x: x.topk(3, dim=1).values.cumsum(1), double)
equal(
    "distances between parts of a row",
    lambda: lambda x: torch.cdist(x.reshape(-1, 3, 2), x.reshape(-1, 3, 2)).flatten(1),
    double,
    target=1,
)
equal("outer products", lambda: lambda x: torch.einsum("bi,bj->bij", x, x.sin()), double, target=(1, 2))
equal("Fourier transform and its absolute value", lambda: lambda x: torch.fft.fft(x).abs(), double, target=1)
equal(
    "complex weights and real outputs",
    lambda: wrapped(lambda net, x: net(x.to(torch.complex64)).abs(), nn.Linear(5, 2, dtype=torch.complex64)),
)
equal(
    "matrix functions",
    lambda: lambda x: torch.linalg.eigvalsh(x.reshape(-1, 3, 2) @ x.reshape(-1, 3, 2).mT),
    double,
    roundings=256,
    target=2,
)
equal(
    "a linear system for each row",
    lambda: lambda x: torch.linalg.solve(torch.eye(3).double() + 0.1 * x[:, None, :3] * x[:, 3:, None], x[:, 3:]),
    double,
)
equal(
    "control flow on the values of each row",
    lambda: lambda x: torch.stack([row.sin() if row[0] > 0 else row.cos() for row in x]),
    double,
)
equal("control flow on torch.where", lambda: lambda x: torch.where(x > 0, x.exp(), x**2), positive(3, 4))
equal(
    "computes in float16 inside",
    lambda: wrapped(lambda net, x: net(x.half()).float(), mlp().half()),
    computes=torch.float16,
    roundings=4,
    step=0.5,
)
equal("computes in float64 inside", lambda: wrapped(lambda net, x: net(x.double()), mlp().double()))
equal("a model of bfloat16", lambda: mlp().bfloat16(), normal(3, 5, dtype=torch.bfloat16), step=0.5, roundings=4)
equal("a model of float16", lambda: mlp().half(), normal(3, 5, dtype=torch.float16), step=0.5, roundings=4)
equal(
    "a convolution of bfloat16",
    lambda: convolution().bfloat16(),
    normal(2, 2, 2, 2, dtype=torch.bfloat16),
    step=0.5,
    roundings=4,
)
equal("a model of float64", lambda: convolution().double(), normal(2, 2, 2, 2, dtype=torch.float64))
equal("sparse weights", lambda: lambda x: torch.sparse.mm(SPARSE, x.T).T.sin())
equal("sparse weights by compressed rows, in a module", lambda: sparse_module())
equal(
    "jagged tensors inside",
    lambda: (
        lambda x: (
            torch.nested.nested_tensor([row[: 3 + i % 2 * 0] for i, row in enumerate(x)]).to_padded_tensor(0.0).sin()
        )
    ),
)
equal("the whole image at a time", lambda: lambda x: torch.fft.fft2(x).real.flatten(1).sin(), images)


def sparse_module():
    net = nn.Linear(5, 4)
    net.weight = nn.Parameter(net.weight.detach().relu().to_sparse_csr(), requires_grad=False)
    return nn.Sequential(net, nn.Tanh()).eval()
