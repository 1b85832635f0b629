"""What is asked of services and what is read from their answers: the same numbers by every protocol."""

import pickle
import warnings

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference, ServiceModel, attribute
from approxgrad.models.kind import ModelError
from approxgrad.models.services.probes import rounded_to
from stub_services import FEATURES, OUTPUTS, Service, grpc_service, http_service, jacobian, network

ROWS = np.random.default_rng(1).normal(size=(7, FEATURES)).astype(np.float32)
QUICK = {"pause": 0.01}

V2 = [
    pytest.param(http_service, {"model": "m"}, id="v2"),
    pytest.param(http_service, {"model": "m", "protocol": "v2-json"}, id="v2-json"),
    pytest.param(grpc_service, {"model": "m"}, id="grpc"),
]
TEMPLATES = [
    ("/invocations", {}),
    ("/invocations", {"protocol": "mlflow-dataframe"}),
    ("/v1/models/m:predict", {}),
    ("/score?version=2", {"request": {"features": "$rows", "flag": True}, "response": "predictions"}),
    ("/each", {"request": {"instances": [{"x": "$row"}]}, "response": "predictions.*.scores"}),
    ("/one", {"request": {"features": "$row"}, "response": "result.scores"}),
]


@pytest.mark.parametrize(("serve", "options"), V2)
def test_outputs_are_those_of_the_model_in_float32_in_order(serve, options):
    with serve() as (service, address):
        model = ServiceModel(address, **options, **QUICK, batch_size=2, concurrency=3)
        assert (model.shape, model.dtype) == ((FEATURES,), np.float32)
        found = model(ROWS)
        assert found.dtype == np.float32
        assert np.array_equal(found, network(ROWS).astype(np.float32))
        assert service.asked[-4:] == [2, 2, 2, 1] or sorted(service.asked[-4:]) == [1, 2, 2, 2]
        assert model.rows_sent == len(ROWS) + 8
        tensor = model(torch.from_numpy(ROWS))
        assert torch.equal(tensor, torch.from_numpy(found))


@pytest.mark.parametrize(("path", "options"), TEMPLATES)
def test_plain_services_get_all_digits_and_give_all(path, options):
    rows = np.random.default_rng(2).normal(size=(5, FEATURES))  # float64, which JSON holds exactly
    with http_service() as (service, address):
        model = ServiceModel(address + path, **options, **QUICK)
        assert model.requests == 0  # Plain services do not say which rows they take.
        assert np.array_equal(model(rows), network(rows))
        assert np.array_equal(model(ROWS), network(ROWS))
        assert service.asked[-1] == (1 if path == "/one" else len(ROWS))


@pytest.mark.parametrize(("serve", "options"), V2)
def test_attributions_are_those_of_the_model_in_process(serve, options):
    def here(rows):
        return torch.from_numpy(network(rows.numpy()).astype(np.float32))

    rows = torch.from_numpy(ROWS)
    with serve() as (_, address), ServiceModel(address, **options, **QUICK, concurrency=2, batch_size=16) as model:
        for source in (FiniteDifference(0.01), FiniteDifference(0.01, "central")):
            there = attribute(model, rows, target=1, method="input_x_gradient", gradient=source)
            assert torch.equal(there, attribute(here, rows, target=1, method="input_x_gradient", gradient=source))
    exact = np.array([jacobian(row)[1] * row for row in ROWS.astype(float)])
    # Truncation h^2/6 |f'''| with |tanh'''| <= 2 and weights up to 2, and four roundings of outputs up to 4 over 2 h.
    bound = (1e-4 / 3 * np.abs(np.random.default_rng(7).normal(size=(FEATURES, OUTPUTS))).max() ** 3 + 5e-5) * 3
    assert np.abs(there.numpy() - exact).max() < bound


def test_bytes_are_sent_once_in_vain_and_json_is_told_of():
    with http_service(Service(binary=False)) as (service, address):
        with pytest.warns(UserWarning, match=r"does not take rows as bytes \(answers 500 \(Internal Server Error\)\)"):
            model = ServiceModel(address, model="m", **QUICK)
        before = len(service.asked)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(model(ROWS), network(ROWS).astype(np.float32))
        assert before == 2
        assert len(service.asked) == 3


def test_a_passing_failure_of_the_first_request_is_no_reason_for_json():
    with http_service(Service(faults=["busy", "closes", "cut"])) as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        model(ROWS)
        assert all("Inference-Header-Content-Length" in headers for headers in service.headers)


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/infer", "/v2/models/m/versions/1"])
def test_an_address_may_name_the_model(path):
    with http_service() as (_, address):
        model = ServiceModel(address + path, **QUICK)
        assert np.array_equal(model(ROWS), network(ROWS).astype(np.float32))


@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_batches_keep_within_what_the_server_says(serve):
    with serve(Service(largest=4)) as (service, address):
        ServiceModel(address, model="m", **QUICK)(np.repeat(ROWS, 3, axis=0))
        assert service.asked == [4, 4] + [4] * 5 + [1]


def test_batches_keep_within_bytes():
    with http_service() as (service, address):
        ServiceModel(address, model="m", **QUICK, max_message=FEATURES * 4 * 3)(ROWS)
        assert service.asked[-3:] == [3, 3, 1]
        ServiceModel(address, model="m", **QUICK, max_message=1)(ROWS[:2])
        assert service.asked[-2:] == [1, 1]


def test_rows_that_grpc_does_not_take_at_once_are_sent_in_smaller_parts():
    rows = np.random.default_rng(3).normal(size=(600, FEATURES)).astype(np.float32)
    with grpc_service(longest=4000) as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        assert np.array_equal(model(rows), network(rows).astype(np.float32))
        assert max(service.asked) <= 4000 // (4 * FEATURES)
        parts = len(service.asked)
        model(rows)  # The limit is known now.
        assert len(service.asked) - parts == 600 // model._asking._most_rows + (600 % model._asking._most_rows > 0)


def test_rows_that_http_does_not_take_at_once_are_sent_in_smaller_parts():
    with http_service() as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        service.faults = ["large"]
        assert np.array_equal(model(ROWS), network(ROWS).astype(np.float32))
        assert service.asked[-3:] == [7, 3, 4]


def test_a_fixed_batch_is_filled_up():
    fixed = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [4, FEATURES]}]}
    with http_service(Service(metadata=fixed)) as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        assert np.array_equal(model(ROWS), network(ROWS).astype(np.float32))
        assert set(service.asked) == {4}


def test_grpc_outputs_may_be_typed_lists():
    with grpc_service(Service(always="typed")) as (_, address):
        assert np.array_equal(ServiceModel(address, model="m", **QUICK)(ROWS), network(ROWS).astype(np.float32))


@pytest.mark.parametrize(
    ("metadata", "options", "line"),
    [
        ({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1, 6]}]}, {}, "input x takes BYTES"),
        ({"inputs": []}, {}, "input: is missing, and the service does not say"),
        ({}, {"input": "image"}, "input: got 'image', expected one of x"),
        ({}, {"output": "z"}, "output: got 'z', expected one of y"),
        (
            {"outputs": [{"name": name, "datatype": "FP32", "shape": [-1, 3]} for name in ("y", "z")]},
            {},
            "output: is missing, expected one of y, z",
        ),
        (
            {"inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 3]} for name in ("x", "mask")]},
            {"input": "x"},
            r"takes 2 inputs \(x, mask\), expected one",
        ),
    ],
)
@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_names_and_types_that_do_not_fit_are_one_line(serve, metadata, options, line):
    with serve(Service(metadata=metadata)) as (_, address), pytest.raises(ModelError, match=line) as error:
        ServiceModel(address, model="m", **QUICK, **options)
    assert "\n" not in str(error.value)


def test_a_shape_that_the_service_does_not_take_is_told_before_it_is_asked():
    with http_service() as (service, address):
        with pytest.raises(ModelError, match=r"got shape \(1, 3, 2\), the model takes \(N, 6\)"):
            ServiceModel(address, model="m", **QUICK, shape=(3, 2))
        assert not service.asked


def test_images_may_have_their_channels_last_at_the_service():
    images = np.random.default_rng(4).normal(size=(5, 3, 1, 2)).astype(np.float32)
    last = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 2, 3]}]}
    with http_service(Service(metadata=last)) as (_, address):
        model = ServiceModel(address, model="m", **QUICK, channels_last=True)
        assert model.shape == (3, 1, 2)
        expected = network(np.moveaxis(images, 1, -1)).astype(np.float32)
        assert np.array_equal(model(images), expected)


def test_a_gateway_gets_its_query_with_every_request():
    with http_service() as (service, address):
        model = ServiceModel(f"{address}/v2/models/m?version=7", **QUICK)
        model(ROWS)
        assert len(service.paths) >= 4
        assert all(path.endswith("?version=7") for path in service.paths)


def test_a_service_without_shapes_is_asked_with_the_first_rows():
    unsaid = {"inputs": [{"name": "x", "datatype": "FP32", "shape": []}], "outputs": []}
    with http_service(Service(metadata=unsaid)) as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        assert (model.shape, service.asked) == (None, [])
        assert np.array_equal(model(ROWS), network(ROWS).astype(np.float32))


@pytest.mark.parametrize("serve", [http_service, grpc_service])
def test_wrong_names_of_models_are_quoted(serve):
    with serve() as (_, address), pytest.raises(ModelError, match=r"Request for unknown model: 'n' is not found"):
        ServiceModel(address, model="n", **QUICK)


def test_wrong_rows_are_told_before_they_are_sent():
    with http_service() as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        asked = len(service.asked)
        with pytest.raises(ModelError, match=r"got shape \(7, 5\), the model takes \(N, 6\)"):
            model(ROWS[:, :5])
        with pytest.raises(ModelError, match="float32, which does not hold all of their numbers"):
            model(ROWS.astype(float) + 1e-12)
        assert len(service.asked) == asked


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"address": "localhost:8000"}, "begins with 'localhost', expected one of http://"),
        ({"address": "http://"}, "names no host"),
        ({"address": "http://127.0.0.1:x"}, "is not an address"),
        ({"address": "http://127.0.0.1"}, "protocol: http://127.0.0.1 does not say it"),
        ({"address": "grpc://127.0.0.1"}, "model: is missing"),
        ({"address": "grpc://127.0.0.1/v2", "model": "m"}, "holds a path"),
        ({"address": "grpc://127.0.0.1", "model": "m", "protocol": "v2"}, "protocol: got v2 with grpc://"),
        (
            {"address": "http://127.0.0.1", "model": "m", "protocol": "rest"},
            "protocol: got 'rest', expected",
        ),
        ({"request": {"x": "rows"}, "response": "y"}, r"holds neither \$rows nor \$row"),
        ({"request": {"x": "$rows"}}, "response: is missing"),
        ({"request": {"x": "$rows", "y": {1, 2}}, "response": "y"}, "request: is not JSON"),
        (
            {"request": {"x": "$rows", "api_key": "1234"}, "response": "y"},
            "holds api_key, which may be secret",
        ),
        ({"model": "m", "response": "y"}, "response: has no meaning for protocol v2"),
        ({"protocol": "mlflow", "model": "m"}, "model: has no meaning for protocol mlflow"),
        ({"model": "m", "dtype": "complex64"}, "dtype: got 'complex64'"),
        ({"model": "m", "timeout": 0}, "timeout: got 0, expected a number above 0"),
        ({"model": "m", "concurrency": 0}, "concurrency: got 0, expected a whole number from 1"),
        ({"model": "m", "tolerance": 2}, "tolerance: got 2"),
        ({"model": "m", "check_every": 0}, "check_every: got 0"),
        ({"model": "m", "shape": 6}, "shape: got 6, expected that of one row"),
        ({"model": "m", "batch_size": 0}, "batch_size: expected a positive integer"),
        ({"model": "m", "transform": "sigmoid"}, "transform: got 'sigmoid'"),
    ],
)
def test_arguments_are_checked_before_anything_is_sent(options, line):
    with pytest.raises(ValueError, match=line):
        ServiceModel(**{"address": "http://127.0.0.1:9/score", **options})


def test_a_copy_in_another_process_looks_whether_the_model_is_the_same():
    with http_service() as (service, address):
        model = ServiceModel(address, model="m", **QUICK)
        stored = pickle.dumps(model)
        copy = pickle.loads(stored)
        assert np.array_equal(copy(ROWS), model(ROWS))
        service.change = lambda outputs: outputs + 0.1
        with pytest.raises(ModelError, match="other numbers than at the beginning"):
            pickle.loads(stored)(ROWS)


@pytest.mark.parametrize(
    ("answers", "decimals"),
    [
        (np.random.default_rng(0).normal(size=(8, 3)).round(4), 4),
        (np.random.default_rng(0).normal(size=(8, 3)).round(2).astype(np.float32), 2),
        (np.arange(24.0).reshape(8, 3), 0),
        (np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), None),
        (np.random.default_rng(0).normal(size=(8, 1)), None),
        (1e6 * np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), None),
        (np.zeros((8, 3)), None),
        (np.eye(8)[:, :3], None),
    ],
)
def test_rounding_is_seen_and_nothing_else_is_taken_for_it(answers, decimals):
    assert rounded_to(answers) == decimals


def test_rounded_answers_are_warned_of_with_a_word_about_steps():
    with http_service(Service(always="rounded")) as (_, address):
        model = ServiceModel(address + "/invocations", **QUICK)
        with pytest.warns(UserWarning, match=r"look rounded to 4 decimals; .* about 0.0001/h"):
            model(ROWS)
