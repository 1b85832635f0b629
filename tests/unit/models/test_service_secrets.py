"""Tokens reach the service, and nothing else."""

import logging
import pickle

import numpy as np
import pytest

from approxgrad import ServiceModel
from approxgrad.models.kind import ModelError
from stub_services import FEATURES, Service, grpc_service, http_service

ROWS = np.ones((2, FEATURES), np.float32)
TOKEN = "s3cr3t-t0ken"
QUICK = {"model": "m", "pause": 0.01}


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", TOKEN)


@pytest.mark.parametrize("serve", [http_service, grpc_service])
@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"token_variable": "MY_TOKEN"}, "authorization", f"Bearer {TOKEN}"),
        ({"headers": {"Authorization": "Bearer env:MY_TOKEN"}}, "authorization", f"Bearer {TOKEN}"),
        ({"headers": {"X-Api-Key": "env:MY_TOKEN", "X-Team": "maps"}}, "x-api-key", TOKEN),
    ],
)
def test_tokens_are_read_for_each_request_and_are_in_nothing_else(
    serve, options, name, value, monkeypatch, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    with serve() as (service, address):
        model = ServiceModel(address, **QUICK, **options, cache=tmp_path)
        model(ROWS)
        assert all({key.lower(): own for key, own in sent.items()}[name] == value for sent in service.headers)
        everywhere = [pickle.dumps(model), repr(model), caplog.text, str(model.record()), str(vars(model))]
        everywhere += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(everywhere) == 6
        assert not any(TOKEN in (own if isinstance(own, str) else own.decode("latin-1")) for own in everywhere)
        monkeypatch.setenv("MY_TOKEN", "another")
        model(ROWS + 1)
        assert {key.lower(): own for key, own in service.headers[-1].items()}[name].endswith("another")
        monkeypatch.delenv("MY_TOKEN")
        with pytest.raises(ModelError, match="the environment variable MY_TOKEN is not set"):
            model(ROWS + 2)
        monkeypatch.setenv("MY_TOKEN", "two\nlines")
        with pytest.raises(ModelError, match="MY_TOKEN is not printable ASCII text") as error:
            model(ROWS + 2)
        assert "lines" not in str(error.value)


def test_headers_that_are_no_secret_are_sent_as_they_are():
    with http_service() as (service, address):
        ServiceModel(address, **QUICK, headers={"Host": "m.default.example.com", "X-Team": "maps"})
        assert (service.headers[0]["Host"], service.headers[0]["X-Team"]) == ("m.default.example.com", "maps")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"headers": {"Authorization": f"Bearer {TOKEN}"}}, "headers.Authorization: may be secret"),
        ({"headers": {"x-api-key": TOKEN}}, "headers.x-api-key: may be secret"),
        ({"headers": {"Cookie": TOKEN}}, "headers.Cookie: may be secret"),
        ({"headers": {"X-Team": "a\r\nX: b"}}, "headers.X-Team: expected printable text"),
        ({"headers": {"X Team": "a"}}, "headers: got the name 'X Team'"),
        ({"token_variable": f"{TOKEN}"}, "token_variable: expected the name of an environment variable, not the token"),
        ({"token_variable": "A", "headers": {"authorization": "env:B"}}, "stands beside headers.Authorization"),
        ({"address": f"http://user:{TOKEN}@127.0.0.1"}, "holds a user or a password"),
        ({"address": f"http://127.0.0.1/?api-key={TOKEN}"}, "holds api-key=..., which may be secret"),
        (
            {"address": "http://models.example.com", "token_variable": "MY_TOKEN"},
            "sent unencrypted to models.example.com",
        ),
        ({"address": "grpc://10.0.0.1:1", "token_variable": "MY_TOKEN"}, "expected grpcs://, or pass insecure=True"),
        ({"address": "http://127.0.0.1.example.com", "token_variable": "MY_TOKEN"}, "sent unencrypted"),
    ],
)
def test_secrets_in_the_open_are_refused_and_not_repeated(options, line):
    with pytest.raises(ValueError, match=line) as error:
        ServiceModel(**{"address": "http://127.0.0.1:9", **QUICK, **options})
    assert TOKEN not in str(error.value)


def test_insecure_sends_a_token_all_the_same(monkeypatch):
    monkeypatch.setattr("approxgrad.models.services.calls.FIRST_PATIENCE", 0)
    with pytest.raises(ModelError, match="no such host"):
        ServiceModel("http://no-such-host.invalid", **QUICK, token_variable="MY_TOKEN", insecure=True)


def test_a_redirect_to_another_host_does_not_carry_headers():
    with http_service() as (there, elsewhere), http_service() as (here, address):
        model = ServiceModel(address, **QUICK, token_variable="MY_TOKEN", headers={"X-Team": "maps"})
        here.faults, here.elsewhere = ["elsewhere"], elsewhere
        model(ROWS)
        (headers,) = there.headers
        assert headers["Content-Type"] == "application/octet-stream"
        assert not {"Authorization", "X-Team"} & headers.keys()
        here.faults, here.elsewhere = ["elsewhere"], address
        model(ROWS)
        assert here.headers[-1]["Authorization"] == f"Bearer {TOKEN}"


def test_redirects_without_end_or_to_other_schemes_are_refused():
    with http_service(Service()) as (service, address):
        model = ServiceModel(address, **QUICK)
        service.always, service.elsewhere = "elsewhere", address
        with pytest.raises(ModelError, match="redirects more than 5 times"):
            model(ROWS)
        service.elsewhere = "file:///etc"
        with pytest.raises(ModelError, match=r"redirects to file:///etc/v2/.*, which is not followed"):
            model(ROWS)
