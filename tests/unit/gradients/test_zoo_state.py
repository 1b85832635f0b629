"""The engine leaves the models of the zoo alone: during a call, after it, for other threads and for their copies."""

import contextlib
import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import zoo
from approxgrad import FiniteDifference
from zoo_members import members
from zoo_parts import convolution, small_images
from zoo_state import differences, each_evaluation, modules_of, numbers, surroundings, tensors_of, wiring

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:(?!.*step):UserWarning"),
]


def is_alone(member):
    """Contexts belong to one thread or to all of them, so members that need one are not shared between threads."""
    return member.refused is None and member.around is contextlib.nullcontext


EVERY = 5
"""Evaluations of a layer between two checks from another thread."""


def training(model, inputs, member):
    """Return the gradients of all weights, or None if the model has no gradient."""
    with torch.enable_grad(), contextlib.suppress(Exception):
        given = [tensor.detach().clone().requires_grad_() for tensor in inputs]
        outputs = model(*given, *zoo.arguments_of(member.arguments, 0, 0))
        own = [tensor for module in modules_of(model) for _, tensor in tensors_of(module) if tensor.requires_grad]
        return torch.autograd.grad(outputs.double().sum(), [*given, *own], allow_unused=True)
    return None


@members(lambda member: member.refused is None)
def test_nothing_is_touched_during_and_after_a_call_and_the_model_can_be_trained(member):
    seen = set()
    with member.around():
        model, inputs = member.model(), member.points()
        values = [(tensor.detach().clone(), tensor.stride(), tensor.requires_grad) for tensor in inputs]
        before, before_numbers = wiring(model), numbers(model)
        around = surroundings(random_states=not member.changes_itself)
        watch = member.watched and not member.changes_itself and before
        with (
            each_evaluation(lambda: seen.update(differences(before, wiring(model))))
            if watch
            else contextlib.nullcontext()
        ):
            member.gradient(model, inputs, "forward")
        after, after_numbers = wiring(model), numbers(model)
        after_around = surroundings(random_states=not member.changes_itself)
        trained, expected = (training(one, inputs, member) for one in (model, member.model()))
    if not member.changes_itself:
        assert sorted(seen) == []
        assert differences(before, after) == []
        assert differences(before_numbers, after_numbers) == []
    assert differences(around, after_around) == []
    for tensor, (value, strides, requires_grad) in zip(inputs, values, strict=True):
        assert torch.equal(tensor, value)
        assert (tensor.stride(), tensor.requires_grad) == (strides, requires_grad)
    if expected is not None and not member.changes_itself:
        assert trained is not None
        for own, other in zip(trained, expected, strict=True):
            assert (own is None) == (other is None)
            assert own is None or torch.allclose(own, other)


def outputs(model, member, inputs):
    """Evaluate a model without the engine."""
    with torch.no_grad():
        given = [tensor.detach().clone() for tensor in inputs]
        return torch.as_tensor(model(*given, *zoo.arguments_of(member.arguments, 0, 0))).clone()


def tasks_of(member, model, inputs):
    """Return what other threads do meanwhile: attribute and evaluate the same model, and another one."""
    with zoo.seeded(3):
        other, images = convolution(), small_images()
    tasks = [lambda: FiniteDifference(0.5)(other, images, 0)]
    if member.shared:
        tasks.append(lambda: member.gradient(model, inputs, "central"))
        tasks.append(lambda: (outputs(model, member, inputs),))
    return tasks


def assert_same_bits(found, expected):
    for result, alone in zip(found, expected, strict=True):
        assert all(torch.equal(one, another) for one, another in zip(result, alone, strict=True))


@members(lambda member: is_alone(member) and member.watched and not member.changes_itself)
def test_what_another_thread_does_in_the_middle_has_the_result_that_it_has_alone(member):
    inputs, model = member.points(), member.model()
    tasks = tasks_of(member, model, inputs)
    alone = [task() for task in tasks]
    expected = member.gradient(model, inputs, "forward")
    calls, found = 0, []
    with ThreadPoolExecutor(1) as pool:

        def meanwhile():
            nonlocal calls
            if calls % EVERY == 0 and len(found) < 2 * len(tasks):
                found.append(pool.submit(tasks[len(found) % len(tasks)]).result(30))
            calls += 1

        with each_evaluation(meanwhile):
            assert_same_bits([member.gradient(model, inputs, "forward")], [expected])
    assert_same_bits(found, [alone[index % len(tasks)] for index in range(len(found))])


@pytest.fixture
def _frequent_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_frequent_switches")
@members(is_alone)
def test_threads_have_the_results_that_they_have_alone(member):
    inputs, model = member.points(), member.model()
    if not any(
        isinstance(layer, torch.nn.Conv2d) for module in modules_of(model) for layer in torch.nn.Module.modules(module)
    ):
        return  # only models with convolutions are tried: an engine has no reason to touch the others
    tasks = [lambda: member.gradient(model, inputs, "forward"), *tasks_of(member, model, inputs)]
    alone = [task() for task in tasks]
    barrier = threading.Barrier(len(tasks))

    def together(task):
        barrier.wait(30)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        assert_same_bits(pool.map(together, tasks), alone)


def halved(model):
    """Halve all numbers of a model and return it."""
    with torch.no_grad():
        for tensor in {id(tensor): tensor for _, tensor in tensors_of(model)}.values():
            if tensor.is_floating_point():
                tensor.mul_(0.5)
    return model


@members(lambda member: member.refused is None and member.watched and not member.changes_itself)
def test_a_copy_that_another_thread_makes_meanwhile_is_sound(member):
    with member.around():
        model, inputs = member.model(), member.points()
        if not isinstance(model, torch.nn.Module):
            return
        try:
            before = copy.deepcopy(model)
            if before is model or not torch.equal(
                outputs(before, member, inputs), outputs(member.model(), member, inputs)
            ):
                return
            expected = outputs(halved(before), member, inputs)
        except Exception:  # noqa: BLE001 - a model that cannot be copied, or not be changed
            return
        calls, copies = 0, []
        with ThreadPoolExecutor(1) as pool:

            def copy_in_a_thread():
                nonlocal calls
                if calls % EVERY == 0 and len(copies) < 20:
                    copies.append(pool.submit(copy.deepcopy, model).result(30))
                calls += 1

            with each_evaluation(copy_in_a_thread):
                member.gradient(model, inputs, "forward")
        for copied in copies:
            assert torch.equal(outputs(halved(copied), member, inputs), expected)
