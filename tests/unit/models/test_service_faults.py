"""Services that fail: nothing is lost and nothing wrong, and one line says where it cannot go on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference, ServiceModel, attribute
from approxgrad.models.kind import ModelError
from approxgrad.models.services import calls
from approxgrad.models.services.calls import seconds_after
from stub_services import FEATURES, Service, grpc_service, http_service, network

ROWS = np.random.default_rng(1).normal(size=(9, FEATURES)).astype(np.float32)
EXPECTED = network(ROWS).astype(np.float32)
QUICK = {"model": "m", "pause": 0.01}
PASSING = ["busy", "unavailable", "closes", "cut", "last", "broken", "page"]
GRPC_PASSING = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "cut", "UNKNOWN"]


def opened(address, service, faults=(), **options):
    """A model whose first answers are right and that meets faults afterwards."""
    model = ServiceModel(address, **{**QUICK, **options})
    service.faults = list(faults)
    return model


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_passes_is_asked_again(fault, concurrency):
    with http_service() as (service, address):
        model = opened(address, service, [fault, None, fault], batch_size=2, concurrency=concurrency)
        before = model.requests
        assert np.array_equal(model(ROWS), EXPECTED)
        assert model.requests - before == 5 + (0 if fault == "last" else 2)


@pytest.mark.parametrize("fault", GRPC_PASSING)
def test_what_passes_by_grpc_is_asked_again(fault):
    with grpc_service() as (service, address):
        model = opened(address, service, [fault, None, fault], batch_size=2, concurrency=2)
        before = model.requests
        assert np.array_equal(model(ROWS), EXPECTED)
        assert model.requests - before == 7


def test_faults_at_random_change_no_attribution():
    random = np.random.default_rng(5)
    rows = torch.from_numpy(ROWS)
    with http_service() as (service, address):
        model = opened(address, service, batch_size=8, concurrency=4, pause=0.001)
        source = FiniteDifference(0.01, "central")
        expected = attribute(model, rows, target=0, gradient=source)
        service.faults = [random.choice([*PASSING[:5], None, None]) for _ in range(30)]
        service.faults = [None if fault is None else str(fault) for fault in service.faults]
        assert torch.equal(attribute(model, rows, target=0, gradient=source), expected)
        assert not service.faults


@pytest.mark.parametrize(("fault", "least"), [("later", 1), ("date", 0.9)])
def test_a_service_is_not_asked_before_it_wants_to_be(fault, least):
    with http_service() as (service, address):
        model = opened(address, service, [fault], batch_size=2)
        begin = len(service.times)
        assert np.array_equal(model(ROWS), EXPECTED)
        first, second, *_ = service.times[begin:]
        assert second - first >= least


@pytest.mark.parametrize(
    ("header", "expected"),
    [("120", 120), ("0", 0), (None, None), ("soon", None), ("-5", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_is_seconds_or_a_date(header, expected):
    assert seconds_after(header) == expected


def test_a_wait_beyond_patience_is_an_error_at_once():
    with http_service() as (service, address):
        model = opened(address, service, ["hour"])
        begin = time.monotonic()
        with pytest.raises(ModelError, match=r"answers 503 .*it asks for 3.6e\+03 s more, and patience is 300 s"):
            model(ROWS)
        assert time.monotonic() - begin < 2


def test_patience_ends():
    with http_service() as (service, address):
        model = opened(address, service, patience=0.3)
        service.always = "unavailable"
        with pytest.raises(ModelError, match=r"answers 503 \(503 Service Unavailable\) \(tried \d+ times in 0\."):
            model(ROWS)


@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_an_answer_that_does_not_come_is_given_up(serve):
    with serve() as (service, address):
        model = opened(address, service, ["slow"], timeout=0.2)
        begin = time.monotonic()
        assert np.array_equal(model(ROWS), EXPECTED)
        assert time.monotonic() - begin < 1.4


def test_an_answer_that_drips_is_given_up():
    with http_service() as (service, address):
        model = opened(address, service, ["drip"], timeout=0.2)
        begin = time.monotonic()
        assert np.array_equal(model(ROWS), EXPECTED)
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("wrong", r"answers 400 \(unexpected shape for input 'x'\)$"),
        ("fewer", r"answers 8 rows for 9, expected an output for each row"),
        ("nan", r"answers nan for row 0 of 9, expected finite numbers"),
        ("text", r"answers (BYTES, such as )?text"),
        ("forbidden", r"answers 401 .*token_variable names the environment variable"),
        ("moved", r"answers 301; it points to https://models.example.com/v2, so write that address"),
        ("broken", r"answers 500 \(the model raised KeyError\) \(tried 3 times"),
        ("page", r"the answer is not JSON, or was cut; it begins with '<html>welcome</html>' \(tried 3 times"),
    ],
)
@pytest.mark.parametrize("protocol", ["v2", "v2-json"])
def test_what_does_not_pass_is_one_line(fault, line, protocol):
    with http_service() as (service, address):
        model = opened(address, service, protocol=protocol)
        before, service.always = len(service.asked), fault
        with pytest.raises(ModelError, match=line) as error:
            model(ROWS)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500
        assert len(service.asked) - before == (3 if "tried 3" in line else 1)


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "NOT_FOUND", "UNIMPLEMENTED"])
def test_what_does_not_pass_by_grpc_is_one_line(status):
    with grpc_service() as (service, address):
        model = opened(address, service, [status])
        before = model.requests
        with pytest.raises(ModelError, match=rf"model m: answers {status} \(not now\)"):
            model(ROWS)
        assert model.requests == before + 1


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("http://127.0.0.1:1", "nothing answers at this address"),
        ("grpc://127.0.0.1:1", "nothing answers at this address"),
        ("http://no-such-host.invalid", "no such host"),
        ("grpc://no-such-host.invalid:80", "no such host"),
    ],
)
def test_a_service_that_was_never_there_is_told_of_soon(address, line, monkeypatch):
    monkeypatch.setattr(calls, "FIRST_PATIENCE", 0.2)
    with pytest.raises(ModelError, match=f"{line}.*tried") as error:
        ServiceModel(address, **QUICK)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_a_service_that_dies_and_comes_back_is_waited_for(serve):
    with serve() as (service, address):
        model = opened(address, service)
        port = int(address.rpartition(":")[2])
    results = []
    thread = threading.Thread(target=lambda: results.append(model(ROWS)))
    thread.start()
    time.sleep(0.3)
    assert not results
    with serve(Service(), port):
        thread.join(10)
    assert np.array_equal(results[0], EXPECTED)


def test_connections_are_kept_and_dead_ones_replaced():
    with http_service() as (service, address):
        model = opened(address, service)
        for _ in range(3):
            service.faults = ["last"]
            assert np.array_equal(model(ROWS), EXPECTED)
            time.sleep(0.02)
        assert np.array_equal(model(ROWS), EXPECTED)


def test_connections_that_a_firewall_forgot_cost_one_time_out():
    with http_service() as (service, address):
        model = opened(address, service, batch_size=1, concurrency=3, timeout=0.4)
        service.delay = 0.05
        model(ROWS)
        service.delay = 0
        assert len(service.server.connections) >= 3
        service.forgotten = set(service.server.connections)
        assert np.array_equal(model(ROWS[:1]), EXPECTED[:1])
        before = model.requests
        assert np.array_equal(model(ROWS), EXPECTED)
        assert model.requests - before == len(ROWS)


def test_a_connection_of_grpc_that_failed_is_not_used_again():
    with grpc_service() as (service, address):
        model = opened(address, service, ["UNAVAILABLE"])
        before = model._asking._protocol._stub
        model(ROWS)
        assert model._asking._protocol._stub is not before


def test_a_model_that_changes_is_noticed_at_the_next_check():
    with http_service() as (service, address):
        model = ServiceModel(address, **QUICK, check_every=5)
        for _ in range(3):
            model(ROWS)
        service.change = lambda outputs: outputs * 1.1
        model(ROWS)
        with pytest.raises(ModelError, match="answers other numbers than at the beginning for the same rows"):
            model(ROWS)
        service.change = lambda outputs: outputs * 1.0001  # Other kernels, not another model.
        model.check()
        service.change = lambda outputs: outputs[:, :2]
        with pytest.raises(ModelError, match=r"shape \(8, 2\), and \(8, 3\) then"):
            model.check()


def test_the_end_of_a_with_statement_is_a_check():
    with http_service() as (service, address):
        with pytest.raises(ModelError, match="other numbers"), ServiceModel(address, **QUICK):
            service.change = lambda outputs: outputs + 1
        service.change = None
        with pytest.raises(ZeroDivisionError), ServiceModel(address, **QUICK):
            service.change = 1 / 0


def test_no_more_requests_at_once_than_wanted():
    with http_service(Service(delay=0.03)) as (service, address):
        model = opened(address, service, batch_size=1, concurrency=4)
        assert np.array_equal(model(ROWS), EXPECTED)
        assert service.most_at_once == 4
        service.most_at_once = 0
        assert np.array_equal(opened(address, service, batch_size=1)(ROWS), EXPECTED)
        assert service.most_at_once == 1


def test_no_more_requests_in_a_second_than_wanted():
    with http_service() as (service, address):
        model = opened(address, service, batch_size=3, concurrency=3, requests_per_second=20)
        begin = len(service.times)
        model(ROWS)
        times = sorted(service.times[begin:])
        assert min(np.diff(times)) > 0.03
        assert len(times) == 3


def test_threads_share_a_model():
    with http_service() as (service, address):
        model = opened(address, service, batch_size=2, concurrency=2)
        found = [None] * 6

        def run(place):
            found[place] = model(ROWS[place:])

        threads = [threading.Thread(target=run, args=(place,)) for place in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(own, EXPECTED[place:]) for place, own in enumerate(found))


CHILD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background
sys.path[:0] = [{unit!r}]
import numpy as np
from approxgrad import ServiceModel
from stub_services import FEATURES, network
rows = np.ones((3, FEATURES), np.float32)
model = ServiceModel(sys.argv[1], model="m", timeout=30)
expected = model(rows)
{code}
"""

FORK = """
import threading, time
def hold():
    with model._lock:
        time.sleep(0.5)
threading.Thread(target=hold).start()
child = os.fork()
if child == 0:
    signal.alarm(20)
same = np.array_equal(model(rows), expected)
if child == 0:
    os._exit(0 if same else 7)
print(same, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def script(address, code, **options):
    unit = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", CHILD.format(unit=unit, code=code), address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_a_forked_process_takes_no_connection_from_its_parent(serve):
    with serve() as (service, address):
        out, err = script(address, FORK).communicate(timeout=60)
        assert out.split() == ["True", "0"], err
        if serve is http_service:
            assert len(service.server.connections) == 2


@pytest.mark.parametrize("serve", [http_service, grpc_service])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_interrupt_ends_a_wait_at_once(serve, concurrency):
    code = f"""
print("ready", flush=True)
model = ServiceModel(sys.argv[1], model="m", batch_size=1, concurrency={concurrency}, timeout=30)
model.check()
"""
    with serve() as (service, address):
        process = script(address, code)
        assert process.stdout.readline() == "ready\n"
        service.delay = 20
        begin, before = time.monotonic(), len(service.asked)
        while len(service.asked) < before + concurrency:
            assert time.monotonic() - begin < 20
            time.sleep(0.02)
        begin = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=15)
        assert time.monotonic() - begin < 15
        assert err.rstrip().endswith("KeyboardInterrupt")


def test_refusals_do_not_show_headers(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-token")
    with http_service() as (service, address):
        model = opened(address, service, token_variable="MY_TOKEN")
        service.always = "forbidden"
        with pytest.raises(ModelError) as error:
            model(ROWS)
        assert "s3cr3t" not in str(error.value)
        assert re.search(r"bad token .*\*\*\*", str(error.value))
