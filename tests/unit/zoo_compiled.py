"""Zoo: models that something has quantised, scripted, traced, frozen, exported or compiled."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.fx.experimental.optimization import fuse

from approxgrad import CompiledModel
from zoo import equal, images, refused, sequences
from zoo_parts import cnn, convolution, mlp, small_images

scales = torch.tensor([0.2, 1.0, 5.0])[:, None]


def of_different_size():
    """Rows whose numbers differ by factors, so that one scale for the whole batch shows."""
    return scales * torch.randn(3, 5)


class Quantised(nn.Module):
    """A network between the stubs of eager quantisation."""

    def __init__(self, net):
        super().__init__()
        self.quantise, self.net, self.back = quantization.QuantStub(), net, quantization.DeQuantStub()

    def forward(self, x):
        return self.back(self.net(self.quantise(x)))


def statically(net, example, until=3):
    """Quantise to int8; with fewer steps, only prepared (1) or calibrated (2)."""
    model = Quantised(net).eval()
    model.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(model)
    if until > 1:
        prepared(3 * torch.randn(50, *example))
    return quantization.convert(prepared) if until > 2 else prepared


def fake_quantised(observing):
    """A network of quantisation-aware training."""
    model = Quantised(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))).train()
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    quantization.prepare_qat(model, inplace=True)
    model(3 * torch.randn(50, 5))
    if not observing:
        model.apply(quantization.disable_observer)
    return model.eval()


def pooled():
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))


def dense():
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))


# Quantised: sums of integers are exact, so the differences are equal

equal("int8, a convolution with max-pooling", lambda: statically(pooled(), (2, 4, 4)), images, step=0.5)
equal("int8, dense layers", lambda: statically(dense(), (5,)), step=0.5)
equal(
    "int8, fused",
    lambda: statically(quantization.fuse_modules(pooled().eval(), [["0", "1"]]), (2, 4, 4)),
    images,
    step=0.5,
)
equal("calibrated and not yet converted", lambda: statically(pooled(), (2, 4, 4), until=2), images, changes_itself=True)
equal("quantisation-aware training, no longer observing", lambda: fake_quantised(observing=False), step=0.5)
equal(
    "weights alone in float16", lambda: quantization.quantize_dynamic(dense().eval(), {nn.Linear}, dtype=torch.float16)
)
refused(
    "dynamic int8, whose scale is that of the batch",
    lambda: quantization.quantize_dynamic(dense().eval(), {nn.Linear}, dtype=torch.qint8),
    "batch_size=1",
    of_different_size,
    alone=True,
    step=0.5,
)
refused(
    "dynamic int8, a recurrent network",
    lambda: quantization.quantize_dynamic(Last(nn.LSTM(4, 3, batch_first=True)).eval(), {nn.LSTM}, dtype=torch.qint8),
    "batch_size=1",
    lambda: scales[:, None] * torch.randn(3, 3, 4),
    alone=True,
    step=0.5,
)


class Last(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)[0][:, -1]


# Scripted, traced, frozen


@torch.jit.ignore
def untouched(x: torch.Tensor) -> torch.Tensor:
    return x.sin()


class Scripted(nn.Module):
    """Control flow that only a script keeps."""

    def __init__(self):
        super().__init__()
        self.net = convolution()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.net(x)
        for index in range(2):
            if bool(x.sum() > 1000):
                found = found + index
        return found


def saved_and_loaded(module):
    """A scripted network as it comes out of a file: no Python class is left."""
    stream = io.BytesIO()
    torch.jit.save(module, stream)
    stream.seek(0)
    return torch.jit.load(stream)


script, trace = torch.jit.script, torch.jit.trace
example = torch.ones(1, 2, 2, 2)
equal("scripted", lambda: script(Scripted().eval()), small_images)
equal("traced", lambda: trace(convolution(), example), small_images)
equal("scripted and frozen", lambda: torch.jit.freeze(script(convolution())), small_images)
equal("optimised for inference", lambda: torch.jit.optimize_for_inference(script(convolution())), small_images)
equal("scripted, saved and loaded", lambda: saved_and_loaded(script(convolution())), small_images)
equal("traced, saved and loaded", lambda: saved_and_loaded(trace(convolution(), example)), small_images)
equal(
    "a scripted part of a module",
    lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), script(convolution())).eval(),
    small_images,
)
equal("a traced function", lambda: trace(lambda x: x.sin().cumsum(1), torch.ones(2, 5)))
equal("a scripted function", lambda: script(scriptable))
refused(
    "scripted with dropout in training mode",
    lambda: script(mlp(nn.Dropout(0.5)).train()),
    "model: .*(training mode|two evaluations)",
)
refused(
    "traced with a fixed number of rows",
    lambda: trace(lambda x: x.reshape(3, 5).sin(), torch.ones(3, 5)),
    "model: fails for",
)


def scriptable(x: torch.Tensor) -> torch.Tensor:
    return x.sin().cumsum(1)


# Exported, symbolically traced, compiled


def exported(rows=torch.export.Dim("rows")):  # noqa: B008 - one name for the axis
    shapes = None if rows is None else ({0: rows},)
    return torch.export.export(convolution(), (torch.ones(3, 2, 2, 2),), dynamic_shapes=shapes).module()


compiled = {"watched": False, "shared": False}
equal("exported", exported, small_images)
refused("exported for batches of three", lambda: exported(None), "model: fails for", small_images)
equal("symbolically traced", lambda: torch.fx.symbolic_trace(convolution()), small_images)
equal(
    "symbolically traced and fused",
    lambda: fuse(cnn(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), flat=12)),
    small_images,
)
equal("compiled, without a compiler", lambda: torch.compile(convolution(), backend="eager"), small_images, **compiled)
equal("compiled in place", lambda: compiled_in_place(), small_images, **compiled)
equal(
    "a compiled part of a module",
    lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), torch.compile(convolution(), backend="eager")).eval(),
    small_images,
    **compiled,
)
equal("a compiled function", lambda: torch.compile(lambda x: x.sin().cumsum(1), backend="eager"), **compiled)
equal("compiled with a break in its graph", lambda: torch.compile(Broken().eval(), backend="eager"), **compiled)
equal("compiled by inductor", lambda: torch.compile(mlp()), **compiled, marks=(pytest.mark.soak,))
equal(
    "the package's CompiledModel",
    lambda: CompiledModel(convolution()),
    small_images,
    **compiled,
    marks=(pytest.mark.slow,),
)
equal("pickled and read back", lambda: pickle.loads(pickle.dumps(convolution())), small_images)
equal("copied", lambda: copy.deepcopy(convolution()), small_images)


def compiled_in_place():
    net = convolution()
    net.compile(backend="eager")
    return net


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 2)

    def forward(self, x):
        found = self.net(x)
        torch._dynamo.graph_break()
        return found.sin()


equal("sequences, scripted", lambda: script(Attention().eval()), sequences)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        return self.cell(x)[0][:, -1]
