import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from approxgrad import CompiledModel, FiniteDifference
from approxgrad.gradients.evaluating.wrapping import weights_in_order
from approxgrad.models.compilation import padded_size
from compilers import needs_compiler

pytestmark = needs_compiler

EPS = torch.finfo(torch.float32).eps


def network() -> nn.Sequential:
    """Return a network with what a compiler fuses: convolution, normalisation that is not trivial, activation."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    layers(torch.randn(64, 2, 4, 4))  # moves the running statistics
    return layers.eval()


@pytest.fixture(scope="module")
def pair():
    """Return a model and what it compiles to; compiling takes some seconds."""
    model = network()
    return model, CompiledModel(model)


def images(count):
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [1, 33])
def test_outputs_are_those_of_the_model_up_to_rounding(pair, count):
    model, compiled = pair
    outputs, expected = compiled(images(count)), model(images(count)).detach()
    assert outputs.shape == expected.shape
    # Sums of 18 and of 32 products.
    assert (outputs - expected).abs().max() <= (18 + 32) * EPS * expected.abs().max()


def test_a_model_of_double_precision_is_compiled_too():
    model, batch = network().double(), images(3).double()
    outputs, expected = CompiledModel(model)(batch), model(batch).detach()
    assert (outputs - expected).abs().max() <= (18 + 32) * torch.finfo(torch.float64).eps * expected.abs().max()


def test_finite_differences_are_those_of_the_model_up_to_rounding_over_the_step(pair):
    model, compiled = pair
    step = 0.1
    own, expected = (FiniteDifference(step)(f, images(2), torch.tensor([0, 2]))[0] for f in (compiled, model))
    assert (own - expected).abs().max() <= 2 * (18 + 32) * EPS * model(images(2)).abs().max() / step
    assert expected.abs().max() > 0.1


def test_it_is_compiled_once_for_batches_of_nearly_one_size(pair):
    _, compiled = pair
    compiled(images(33))
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(images(34))


def test_the_model_is_as_it_was_and_later_changes_of_it_do_not_show(pair):
    model, compiled = pair
    before, changed = compiled(images(1)), copy.deepcopy(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model[0].weight.is_contiguous()
    with torch.no_grad():
        model[5].bias += 1
    after = compiled(images(1))
    model.load_state_dict(changed.state_dict())
    assert torch.equal(before, after)


def test_its_batches_are_enlarged_less_for_the_weights(pair):
    plain, ordered = (
        FiniteDifference(0.1).prepare(model, (images(1),), (), torch.zeros(1, 1).long()) for model in pair
    )
    assert plain.footprint.weight_uses == 16
    assert ordered.footprint.weight_uses == plain.footprint.weight_uses
    assert weights_in_order(ordered)
    assert not weights_in_order(plain)


def test_a_model_that_gives_its_layers_weights_for_each_call_is_refused():
    class Ensemble(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 3, 3, padding=1)

        def forward(self, x):
            weights = dict(self.layer.named_parameters())
            doubled = {name: 2 * weight for name, weight in weights.items()}
            return functional_call(self.layer, doubled, (x,)).flatten(1) + self.layer(x).flatten(1)

    torch.manual_seed(0)
    model, batch = Ensemble().eval(), torch.randn(2, 2, 2, 2)
    with pytest.raises(ValueError, match="differs from the module by more than rounding"):
        CompiledModel(model)(batch)


@pytest.mark.parametrize("model", [len, lambda inputs: inputs, "cnn"])
def test_what_is_no_module_cannot_be_compiled(model):
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module to compile, got"):
        CompiledModel(model)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"BatchNorm2d\) is in training mode"):
        CompiledModel(network().train())


@pytest.mark.usefixtures("fresh_compiler")
def test_a_machine_without_a_compiler_is_one_clear_line():
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(
            ValueError,
            match=r"^compile: torch\.compile cannot compile this model here \(.*No working C\+\+ compiler.*[^ ]\)$",
        ),
    ):
        CompiledModel(nn.Sequential(nn.Linear(3, 3), nn.Softplus()))(torch.ones(2, 3))


@given(st.integers(1, 100_000))
def test_a_batch_is_filled_up_by_less_than_a_sixteenth(rows):
    filled = padded_size(rows)
    assert rows <= filled < rows + max(1, rows / 16)
    assert padded_size(filled) == filled
