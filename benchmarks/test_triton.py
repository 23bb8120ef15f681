"""The model behind Triton's server, over the network: its answers, its speed under load."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fixtures.served import described, measured, note_load, note_ratio
from fixtures.triton import ALL, ALONE, HEAD, INT8_TOPK, PLAIN, PROVIDER, SERVED, TOPK, TWO, Start
from fixtures.variants import Artifacts
from ssept.data.dataset import Dataset, left_padded
from ssept.evaluation import accuracy, full_ranks
from ssept.metrics import IntArray
from ssept.providers import PROVIDERS, budget
from ssept.providers.session import Session
from ssept.serving.interface import DEFAULT_K, MODEL
from ssept.serving.load.alternated import Rate
from ssept.serving.triton.client import PROTOCOLS, Client
from ssept.serving.triton.perf_analyzer import Figures, Load
from ssept.serving.triton.server import TritonServer

USERS = 256
BATCH = 64
# Two builds of ONNX Runtime, and batches of other sizes, add up in another order.
TOLERANCE = 1e-4
RATIOS = {  # the models, and sequences in a request
    "topk": (TOPK, ALL, 1),
    "topk_b064": (TOPK, ALL, 64),
    "int8": (INT8_TOPK, PLAIN, 1),
    "batching": (TOPK, ALONE, 1),
    "instances": (TWO, TOPK, 1),
}
CONCURRENCY = 8
RATE_SHARE = 0.5
pytestmark = pytest.mark.cell(HEAD, PROVIDER)


@pytest.fixture(autouse=True)
def alive(triton_server: TritonServer) -> None:
    """Fail each test with one clear message where the server has ended."""
    triton_server.check()


@pytest.fixture(scope="session")
def local(triton_server: TritonServer, artifacts: Artifacts) -> Session:
    """Load the same model in this process."""
    del triton_server  # asked for first: it is skipped where there is none to compare with
    provider = PROVIDERS["cpu"]
    if reason := provider.unavailable():
        pytest.skip(reason)
    return provider.load(artifacts.get(SERVED[MODEL].variant), 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_answers(
    protocol: str, triton_server: TritonServer, local: Session, dataset: Dataset, benchmark: Any
) -> None:
    cases = dataset.cases("test")
    users = cases.users[:USERS]
    sequences = left_padded(cases.histories[:USERS], local.artifact.model.max_length)
    batches = [slice(start, start + BATCH) for start in range(0, len(users), BATCH)]

    def compare() -> tuple[float, float]:
        errors, overlaps = [], []
        with Client(protocol, url(triton_server, protocol)) as client:
            for rows in batches:
                scores = client.scores(users[rows], sequences[rows])
                expected = local.scores(users[rows], sequences[rows])
                errors.append(float(np.abs(scores - expected)[:, 1:].max()))
                ids, _ = client.best(users[rows], sequences[rows])
                wanted, _ = local.recommend(users[rows], sequences[rows], DEFAULT_K)
                overlaps += [
                    len(set(a) & set(b)) / DEFAULT_K for a, b in zip(ids, wanted, strict=True)
                ]
        return max(errors), float(np.mean(overlaps))

    error, overlap = benchmark.pedantic(compare, rounds=1)
    benchmark.extra_info |= SERVED[MODEL].facts(local.artifact) | {
        "measure": "served answers",
        "protocol": protocol,
        "score_error": error,
        "overlap": overlap,
    }
    assert error <= TOLERANCE
    assert overlap >= 0.999, "the best items differ from those of the same model in process"


def test_accuracy(
    triton_server: TritonServer, local: Session, dataset: Dataset, benchmark: Any
) -> None:
    cases, length = dataset.cases("test"), local.artifact.model.max_length
    with Client("http", triton_server.http) as client:

        def scores(users: IntArray, sequences: IntArray) -> npt.NDArray[np.float32]:
            starts = range(0, len(users), BATCH)
            parts = [(users[at : at + BATCH], sequences[at : at + BATCH]) for at in starts]
            return np.concatenate([client.scores(*part) for part in parts])

        ranks = benchmark.pedantic(full_ranks, (scores, cases, length), rounds=1)
    here, there = accuracy(full_ranks(local.scores, cases, length)), accuracy(ranks)
    benchmark.extra_info |= SERVED[MODEL].facts(local.artifact) | {
        "measure": "served accuracy",
        "split": "test",
        "full": asdict(there),
        "in_process": asdict(here),
    }
    assert there.ndcg.value == pytest.approx(here.ndcg.value, abs=TOLERANCE)


@pytest.mark.parametrize("batch", [1, 64], ids=lambda batch: f"b{batch:03}")
@pytest.mark.parametrize("concurrency", [1, 8, 16], ids=lambda number: f"c{number:02}")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_load(
    protocol: str,
    concurrency: int,
    batch: int,
    triton_server: TritonServer,
    artifacts: Artifacts,
    benchmark: Any,
) -> None:
    load = Load(url(triton_server, protocol), MODEL, protocol, batch, concurrency)
    figures = benchmark.pedantic(checked, (load, artifacts), rounds=1)
    note_load(benchmark, facts(artifacts, load), load, asdict(figures))


def test_request_rate(triton_server: TritonServer, artifacts: Artifacts, benchmark: Any) -> None:
    """Latency at half the throughput, requests being sent on time whether answered or not."""
    closed = Load(triton_server.http, MODEL, concurrency=CONCURRENCY)
    rate = round(RATE_SHARE * checked(closed, artifacts).inferences_per_s)
    load = replace(closed, request_rate=rate)
    figures = benchmark.pedantic(checked, (load, artifacts), rounds=1)
    note_load(benchmark, facts(artifacts, load), load, asdict(figures))


@pytest.mark.parametrize("name", RATIOS)
def test_ratio(
    name: str,
    triton_server: TritonServer,
    start_triton: Start[TritonServer],
    artifacts: Artifacts,
    benchmark: Any,
) -> None:
    """Throughput of two models at the same concurrency, in alternating order."""
    served, against, batch = RATIOS[name]
    load = Load(triton_server.http, served, batch=batch, concurrency=CONCURRENCY)

    @contextmanager
    def started() -> Iterator[Rate]:
        with start_triton() as server:

            def rate(model: str) -> float:
                asked = replace(load, url=server.http, model=model)
                return checked(asked, artifacts).inferences_per_s

            yield rate

    model = facts(artifacts, load)
    note_ratio(benchmark, model, described(load), started, served=served, against=against)


def test_gpu(triton_server: TritonServer, artifacts: Artifacts, benchmark: Any) -> None:
    """What the server's own metrics say of its GPUs, after a load."""
    if not triton_server.gpu_metrics():
        pytest.skip("the server sees no GPU")
    load = Load(triton_server.http, MODEL, concurrency=CONCURRENCY)
    figures = benchmark.pedantic(checked, (load, artifacts), rounds=1)
    gpus = triton_server.gpu_metrics()
    note_load(benchmark, facts(artifacts, load), load, asdict(figures) | {"gpu": gpus})


def checked(load: Load, artifacts: Artifacts) -> Figures:
    """Measure a load whose answers are compared with those of the same file in this process."""
    variant = SERVED[load.model].variant
    return measured(load, PROVIDERS["cpu"].load(artifacts.get(variant), 1), budget(variant, "cpu"))


def url(server: TritonServer, protocol: str) -> str:
    """Where the server answers that protocol."""
    return server.http if protocol == "http" else server.grpc


def facts(artifacts: Artifacts, load: Load) -> dict[str, Any]:
    """Return what a saved result records about the loaded model."""
    served = SERVED[load.model]
    return served.facts(artifacts.get(served.variant))
