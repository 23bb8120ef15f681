"""What Prometheus is told: valid, true, with few labels, and summed over worker processes."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from ssept.errors import ServerError
from ssept.serving.core.telemetry import TELEMETRY_BYTES, Telemetry
from ssept.serving.core.worker_memory import WorkerMemory, allocated
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import Live, item_id, live, user_id, write_checkpoint

ONE = {"user_id": user_id(1), "sequence": [item_id(2)], "top_k": 3}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    return ServerSettings(
        model=write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"),
        max_wait_ms=10_000,
        deadline_ms=10_000,
    )


@pytest.fixture
def server(settings: ServerSettings) -> Iterator[Live]:
    with live(settings) as server:
        yield server


def families(server: Live) -> dict[str, Metric]:
    text = server.ask("GET", "/metrics").body.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_answers_are_counted_by_route_and_status(server: Live) -> None:
    for _ in range(3):
        server.post("/predict", ONE)
    server.post("/predict", {})
    server.post("/predict/batch", {"requests": [ONE] * 5})
    found = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families(server)["ssept_requests"].samples
        if sample.name == "ssept_requests_total"
    }
    assert found == {("/predict", "200"): 3, ("/predict", "422"): 1, ("/predict/batch", "200"): 1}
    assert server.counted("ssept_request_seconds_count", route="/predict") == 4
    assert server.counted("ssept_batch_sequences_sum", variant="fused_topk") == 8
    assert 1 <= server.counted("ssept_call_seconds_count", variant="fused_topk") <= 8


def test_paths_have_their_routes_for_labels_and_wrong_ones_share_one(server: Live) -> None:
    for number in range(20):
        server.ask("GET", f"/users/{number}")
        server.ask("GET", f"/nothing/{number}")
        server.ask("GET", f"/predict/{number}")
        server.ask("GET", f"/%0A{number}")
    server.ask("GET", "/version")
    server.ask("GET", "/predict")
    routes = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families(server)["ssept_requests"].samples
        if sample.name == "ssept_requests_total"
    }
    assert routes == {
        ("/users/{user_id}", "200"): 20,
        ("other", "404"): 60,
        ("/version", "200"): 1,
        ("/predict", "405"): 1,
    }


def test_the_state_of_the_process_and_its_models_is_told(server: Live) -> None:
    found = families(server)
    version = server.ask("GET", "/version").json
    (model,) = found["ssept_model_info"].samples
    assert model.labels == {
        "variant": "fused_topk",
        "provider": "cpu",
        "version": version["variants"]["fused_topk"],
    }
    (build,) = found["ssept_build_info"].samples
    assert build.labels["version"] == version["ssept"]
    assert [sample.value for sample in found["ssept_waiting_sequences"].samples] == [0]
    assert server.counted("ssept_ready") == 1
    server.app.registry.draining = True
    assert server.counted("ssept_ready") == 0
    assert server.counted("process_resident_memory_bytes") > 1e6


def test_both_forms_of_prometheus_are_spoken(server: Live) -> None:
    server.post("/predict", ONE)
    answer = server.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    plain = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    plain = {name for name in plain if not name.endswith("_created")}  # no families of their own
    accept = "application/openmetrics-text; version=1.0.0"
    answer = server.ask("GET", "/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics_families(answer.body.decode())} == plain


def test_nothing_is_lost_among_threads(server: Live) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.post("/predict", ONE), range(200)))
    assert server.counted("ssept_requests_total", route="/predict", status="200") == 200


def test_workers_are_summed_and_one_that_is_replaced_counts_on() -> None:
    size = 2 * TELEMETRY_BYTES
    with allocated(size) as descriptor:
        parts = [WorkerMemory(TELEMETRY_BYTES, place, 2, descriptor) for place in (0, 1, 1)]
        for memory, answers in zip(parts, (3, 4, 5), strict=True):
            telemetry = Telemetry(memory)
            telemetry.answered("/first", 200, 0.001)
            telemetry.answered(f"/place/{memory.place}", 200, 0.01)
            for _ in range(answers):
                telemetry.answered("/predict", 200, 0.0042)
            telemetry.answered("/predict", 503, 100)
        text = telemetry.exposition("")[0].decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    requests = {
        tuple(sample.labels.values()): sample.value for sample in found["ssept_requests"].samples
    }
    assert requests == {
        ("/first", "200"): 3,
        ("/place/0", "200"): 1,
        ("/place/1", "200"): 2,
        ("/predict", "200"): 12,
        ("/predict", "503"): 3,
    }
    seconds = {
        (sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value
        for sample in found["ssept_request_seconds"].samples
        if sample.labels["route"] == "/predict"
    }
    assert seconds["bucket", "0.003"] == 0
    assert seconds["bucket", "0.005"] == seconds["bucket", "2.0"] == 12
    assert seconds["bucket", "+Inf"] == seconds["count", None] == 15
    assert seconds["sum", None] == pytest.approx(300 + 12 * 0.0042)


def test_a_value_on_the_bound_of_a_bucket_is_in_it() -> None:
    telemetry = Telemetry(WorkerMemory(TELEMETRY_BYTES))
    telemetry.answered("/", 200, 0.001)
    assert b'le="0.0005",route="/"} 0.0' in telemetry.exposition("")[0]
    assert b'le="0.001",route="/"} 1.0' in telemetry.exposition("")[0]


def test_there_is_memory_for_counters_where_memfd_create_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refused)
    with allocated(8 * TELEMETRY_BYTES) as descriptor:
        assert os.fstat(descriptor).st_blocks * 512 >= 8 * TELEMETRY_BYTES  # none is missing later
        Telemetry(WorkerMemory(TELEMETRY_BYTES, 7, 8, descriptor)).answered("/", 200, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(ServerError, match=r"^no room for 99 bytes.*: No space left.*TMPDIR"),
        allocated(99),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["missing", "stale"])
def test_the_variable_of_another_program_changes_nothing(
    tmp_path: Path, settings: ServerSettings, folder: str
) -> None:
    variables = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / folder)}
    (tmp_path / "stale").mkdir()
    if folder == "stale":
        program = "from prometheus_client import Counter; Counter('ssept_requests', '').inc(5)"
        subprocess.run([sys.executable, "-c", program], env=variables, check=True)
        assert [*(tmp_path / "stale").iterdir()]
    found = sorted((tmp_path / "stale").iterdir())
    done = subprocess.run(
        [sys.executable, "-c", SERVED, str(settings.model)],
        env=variables,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(done.stdout) == 3
    assert sorted((tmp_path / "stale").iterdir()) == found


SERVED = """
import json, sys
from pathlib import Path
from tests.helpers.servers.serving import live, ITEMS, item_id, user_id
from ssept.serving.settings import ServerSettings
with live(ServerSettings(model=Path(sys.argv[1]))) as server:
    body = {"user_id": user_id(1), "sequence": [item_id(2)]}
    for _ in range(3):
        assert server.post("/predict", body).status == 200
    print(json.dumps(server.counted("ssept_requests_total")))
"""
