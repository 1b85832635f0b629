"""Real servers: attributions are those in process, and hardly slower. Minutes the first time: servers are installed."""

import time
import warnings

import numpy as np
import pytest
import torch

from approxgrad import DirectionalDifference, FiniteDifference, ServiceModel, attribute
from approxgrad.models.kind import ModelError
from servers import LARGEST_BATCH, SHAPE, UnavailableError, mlserver, triton, write_cnn

pytestmark = pytest.mark.soak

SERVERS = {"triton": triton, "mlserver": mlserver}


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    """The name of a server and its addresses by protocol."""
    try:
        with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as addresses:
            yield request.param, addresses
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same model in this process, with as many threads."""
    import onnxruntime

    path = tmp_path_factory.mktemp("here") / "cnn.onnx"
    write_cnn(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda rows: torch.from_numpy(session.run(None, {"x": rows.numpy()})[0])


def served(addresses, protocol, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not take rows as bytes", UserWarning)
        return ServiceModel(addresses[protocol.partition("-")[0]], model="cnn", protocol=protocol, **options)


@pytest.mark.parametrize("protocol", ["grpc", "v2", "v2-json"])
def test_attributions_are_those_in_process(server, here, protocol):
    _, addresses = server
    rows = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))[:, :, :16]
    rows = torch.cat([rows, rows.flip(2)], dim=2)
    source = FiniteDifference(0.01, batch_size=LARGEST_BATCH)
    with served(addresses, protocol, concurrency=2) as model:
        assert model.shape == SHAPE
        found = attribute(model, rows, target=3, method="input_x_gradient", gradient=source)
    expected = attribute(here, rows, target=3, method="input_x_gradient", gradient=source)
    # The same runtime computes both, in batches whose size may differ: roundings of outputs of about 1 over h.
    assert (found - expected).abs().max() <= 4 * 2**-23 / 0.01 * rows.abs().max()
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.999


class Stopping:
    """A model that is stopped after some rows."""

    def __init__(self, model, rows):
        self.model, self.left = model, rows

    def __call__(self, rows):
        self.left -= len(rows)
        if self.left < 0:
            raise KeyboardInterrupt
        return self.model(rows)


def test_a_budget_is_paid_once_although_the_work_is_stopped_and_begun_again(server, here, tmp_path):
    _, addresses = server
    rows = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))

    def explained(model):
        source = DirectionalDifference(budget=200, basis="cosine", batch_size=50, check_rows=False)
        return attribute(model, rows, target=3, gradient=source, check_rows=False)

    sent = []
    for stop in (120, 10**9, 10**9):
        with served(addresses, "grpc", cache=tmp_path, check_rows=False) as model:
            before = model.rows_sent
            if stop < 1000:
                with pytest.raises(KeyboardInterrupt):
                    explained(Stopping(model, stop))
            else:
                found = explained(model)
            sent.append(model.rows_sent - before)
    # Some batches were answered before the end; the last run has all answers.
    assert 0 < sent[0] <= 120
    assert sum(sent[:2]) == 200
    assert sent[2] == 0
    assert torch.nn.functional.cosine_similarity(found.flatten(), explained(here).flatten(), dim=0) > 0.999


def test_a_batch_above_the_largest_is_cut(server, here):
    _, addresses = server
    rows = torch.randn(3 * LARGEST_BATCH, *SHAPE)
    for protocol in ("grpc", "v2"):
        assert torch.allclose(served(addresses, protocol)(rows), here(rows), atol=1e-5)


def test_what_a_server_says_of_mistakes_is_one_line(server):
    _, addresses = server
    for protocol, address in addresses.items():
        with pytest.raises(ModelError, match="not found") as error:
            ServiceModel(address, model="dog", protocol=protocol)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("batch", [32, LARGEST_BATCH])
@pytest.mark.parametrize("protocol", ["grpc", "v2"])
def test_bytes_cost_less_than_a_sixth_of_the_rate(server, here, protocol, batch):
    name, addresses = server
    if name == "mlserver":
        pytest.skip("MLServer turns bytes into lists of numbers, which costs more than the model")
    rows = torch.randn(512, *SHAPE)

    def in_batches():
        for start in range(0, len(rows), batch):
            here(rows[start : start + batch])

    def seconds(call):
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    model = served(addresses, protocol, batch_size=batch, concurrency=2)
    model(rows)
    own = time.process_time()
    lasted = seconds(in_batches)
    share = (time.process_time() - own) / lasted
    ratios = [seconds(in_batches) / seconds(lambda: model(rows)) for _ in range(9)]
    print(f"{name} {protocol} batch {batch}: {np.median(ratios):.2f} of the rate in process")
    if share < 0.95:
        pytest.skip(f"other programs have the processors: this one gets {share:.0%} of the time, and rates say nothing")
    assert np.median(ratios) >= 0.85
