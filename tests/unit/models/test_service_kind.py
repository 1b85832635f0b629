"""The kind of model `service`: what a configuration may say, and that nothing is asked before a job."""

import subprocess
import sys
import typing
from dataclasses import fields

import numpy as np
import pytest
import torch

from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.opening import open_model, recorded
from approxgrad.models.services.contact import PROTOCOLS, Contact
from approxgrad.study.configuration import SECTIONS, ConfigError
from small_studies import difference, entry, study
from stub_services import FEATURES, OUTPUTS, Service, grpc_service, http_service, network

SERVICE = MODELS["service"]
CPU = torch.device("cpu")
ROWS = torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(0))


def opened(address, outputs=OUTPUTS, dtype=torch.float32, shape=(FEATURES,), **options):
    own = {"service": address, "model": "m", **options}
    return open_model("service", SERVICE(**own).opening(), None, shape, outputs, CPU, dtype)


def served(**options):
    """A study of a model behind a service."""
    fine = difference("central", [0.01])
    config = entry(difference(), fine, models=["served"], reference="central-h0.01")
    return study(config, models={"served": options})


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_options_are_those_of_the_python_interface():
    hints = typing.get_type_hints(SERVICE)
    assert set(typing.get_args(typing.get_args(hints["protocol"])[0])) == set(PROTOCOLS)
    left_out = {own.name for own in fields(Contact)} - {own.name for own in fields(SERVICE)}
    assert left_out == {"address", "max_message", "pause"}
    defaults = {own.name: own.default for own in fields(Contact)}
    assert all(own.default == defaults[own.name] for own in fields(SERVICE) if own.name in defaults)


@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_a_job_gets_a_callable_and_what_results_say_of_it(serve, tmp_path):
    with serve() as (service, address):
        model = opened(address, request_rows=2, concurrency=2)
        assert np.array_equal(model(ROWS).numpy(), network(ROWS.numpy()).astype(np.float32))
        said = recorded(model)["service"]
        assert (said["address"], said["model"], said["version"]) == (address, "m", "1")
        assert len(said["answers"]) == 16
        assert max(service.asked) == 2
        assert list((tmp_path / "data" / "answers").rglob("*.answers"))
        before = sum(service.asked)
        assert recorded(opened(address, request_rows=3))["service"] == said
        # Probes at the beginning and at the end; the trial rows are known.
        assert sum(service.asked) - before == 16
        service.change = lambda outputs: outputs + 1
        with pytest.raises(ModelError, match="other numbers than at the beginning"):
            recorded(model)
        with pytest.raises(ModelError, match="holds answers of another model"):
            opened(address)


def test_without_a_cache_nothing_is_written(tmp_path):
    with http_service() as (_, address):
        opened(address, cache=False)(ROWS)
    assert not list(tmp_path.iterdir())


def test_other_models_record_nothing():
    assert recorded(torch.nn.Identity()) == {}
    assert recorded(lambda rows: rows) == {}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"outputs": 4}, r"returned shape \(2, 3\) for 2 rows, expected \(2, 4\)"),
        ({"dtype": torch.float64}, "takes float32, so it cannot be evaluated in float64"),
        ({"shape": (2, 3)}, r"the model takes \(N, 6\)"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_one_line(options, line):
    with http_service() as (_, address), pytest.raises(ModelError, match=line) as error:
        opened(address, **options)
    assert "\n" not in str(error.value)


def test_rows_that_depend_on_their_batch_are_refused_unless_they_are_asked_one_by_one():
    with http_service(Service(change=lambda outputs: outputs - outputs.mean(axis=0))) as (service, address):
        with pytest.raises(ValueError, match="outputs differ by"):
            opened(address)
        opened(address, batch_size=1)
        before = len(service.asked)
        opened(address, batch_size=1)(ROWS)
        assert set(service.asked[before:]) == {1}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"service": "127.0.0.1:80", "model": "m"}, "models.served.service: begins with"),
        ({"service": "http://u:p@h", "model": "m"}, "models.served.service: holds a user or a password"),
        ({"service": "http://h"}, "models.served.protocol: http://h does not say it"),
        ({"service": "http://h", "model": "m", "token_variable": "T"}, "models.served.service: a token would be sent"),
        (
            {"service": "https://h", "model": "m", "headers": {"X-Key": "1"}},
            "models.served.headers.X-Key: may be secret",
        ),
        ({"service": "http://h", "model": "m", "protocol": "soap"}, "models.served.protocol: got 'soap'"),
        ({"service": "http://h", "model": "m", "concurrency": 0}, "models.served.concurrency: got 0"),
        ({"service": "http://h", "request": {"x": 1}, "response": "y"}, "models.served.request: holds neither"),
    ],
)
def test_faults_are_named_by_their_key(options, line):
    with pytest.raises(ConfigError) as error:
        served(**options)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_study_keeps_templates_and_names_of_variables_as_they_are_written():
    request = {"instances": [{"x": "$row"}], "scale": 1}
    own = {"service": "https://h/score", "request": request, "response": "predictions", "token_variable": "T"}
    model = served(**own).model("served")
    assert SECTIONS["models"].written(model) | own == SECTIONS["models"].written(model)
    assert model.opening()["request"] == request


def test_a_configuration_is_read_without_the_libraries_of_services():
    code = (
        "import sys\n"
        "from approxgrad.descriptions import read\n"
        "from approxgrad.models.kind import MODELS\n"
        "model = read(MODELS['service'], {'service': 'grpc://h:1', 'model': 'm'})\n"
        "assert model.faults() == []\n"
        "print(sorted({'torch', 'grpc', 'urllib3', 'tritonclient', 'numpy.random'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout
    assert "grpc" not in done.stdout
    assert "urllib3" not in done.stdout
