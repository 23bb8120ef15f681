"""What Prometheus is told: valid, true, with few labels, and summed over worker processes."""

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

from ssept.serving.settings import ServerSettings
from tests.helpers.serving import Live, item_id, live, user_id, write_checkpoint

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


WORKER = """
import json, sys
from pathlib import Path
from tests.helpers.serving import live, ITEMS, item_id, user_id
from ssept.serving.settings import ServerSettings
with live(ServerSettings(model=Path(sys.argv[1]))) as server:
    body = {"user_id": user_id(1), "sequence": [item_id(2)]}
    for _ in range(int(sys.argv[2])):
        assert server.post("/predict", body).status == 200
    print(json.dumps(server.ask("GET", "/metrics").body.decode()))
"""


def test_workers_are_summed(settings: ServerSettings, tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", WORKER, str(settings.model), str(count)],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for count in (3, 4)
    ]
    found = {family.name: family for family in text_string_to_metric_families(json.loads(said[-1]))}
    counted = {
        sample.labels["route"]: sample.value
        for sample in found["ssept_requests"].samples
        if sample.name == "ssept_requests_total"
    }
    assert counted == {"/predict": 7, "/metrics": 1}
    (total,) = (
        sample.value
        for sample in found["ssept_request_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["route"] == "/predict"
    )
    assert total == 7
    assert len(found["ssept_model_info"].samples) == 1
