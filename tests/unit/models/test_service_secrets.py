"""Tokens reach the service, and nothing else."""

import logging
import pickle
import shutil
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from approxgrad import ServiceModel
from approxgrad.models.kind import ModelError
from stub_services import FEATURES, Handler, Service, grpc_service, http_service

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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of this machine that it has signed itself, and the key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes a certificate")
    paths = [tmp_path_factory.mktemp("tls") / name for name in ("certificate.pem", "key.pem")]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1]]
    subprocess.run(made, check=True, capture_output=True)
    return paths


def test_a_certificate_of_ones_own_is_trusted_where_the_environment_names_it(certificate, monkeypatch):
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(*certificate)
    with http_service() as (service, address):
        service.server.socket = secure.wrap_socket(service.server.socket, server_side=True)
        https = address.replace("http:", "https:")
        with pytest.raises(
            ModelError, match=r"the encrypted connection failed .*self-signed.*; the environment variable"
        ):
            ServiceModel(https, **QUICK)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert ServiceModel(https, **QUICK)(ROWS).shape[0] == len(ROWS)


def test_an_unknown_certificate_is_refused_at_once_by_grpc(certificate):
    import grpc

    server = grpc.server(ThreadPoolExecutor(1))
    own = grpc.ssl_server_credentials([tuple(path.read_bytes() for path in reversed(certificate))])
    port = server.add_secure_port("127.0.0.1:0", own)
    server.start()
    try:
        with pytest.raises(ModelError, match=r"failed \(CERTIFICATE_VERIFY_FAILED.*GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
            ServiceModel(f"grpcs://127.0.0.1:{port}", **QUICK, patience=60)
    finally:
        server.stop(None)


def test_requests_go_through_the_proxy_that_the_environment_names(monkeypatch):
    asked = []

    def forwarding(answer):
        def own(handler):
            asked.append(handler.path)
            handler.path = "/" + handler.path.split("/", 3)[-1]
            answer(handler)

        return own

    for name in ("do_GET", "do_POST"):
        monkeypatch.setattr(Handler, name, forwarding(getattr(Handler, name)))
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http_service() as (service, address):
        monkeypatch.setenv("http_proxy", address.replace("http://", "http://me:word@"))
        ServiceModel("http://models.example.invalid", **QUICK)(ROWS)
        assert all(path.startswith("http://models.example.invalid/v2/models/m") for path in asked)
        assert "proxy-authorization" in {key.lower() for key in service.headers[-1]}
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(ModelError, match=r"names a proxy that begins with socks5://, expected http:// or https://"):
            ServiceModel("http://models.example.invalid", **QUICK)
