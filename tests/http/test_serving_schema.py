"""The OpenAPI description is true: requests made up from it, valid and not, get what it says.

Schemathesis makes them. SSEPT_TEST_FUZZ is how many it makes up at random for each operation;
there are more, by rule. `pytest -s` shows how many there were, and how they were answered.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ssept.installation import shipped_checkpoint
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import Live, live

EXAMPLES = int(os.environ.get("SSEPT_TEST_FUZZ", "25"))
HOOKS = Path(__file__).parents[1] / "helpers/servers/schemathesis_hooks.py"
METHODS = ("get", "post", "put", "delete", "patch", "head", "options")


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    settings = ServerSettings(
        model=shipped_checkpoint(),
        variants=("fused_topk", "onnx"),
        max_wait_ms=10_000,
        deadline_ms=10_000,
        max_body_bytes=100_000,
        max_sequence=200,
        max_top_k=30,
    )
    with live(settings) as server:
        yield server


@pytest.fixture(scope="module")
def description(server: Live) -> dict[str, Any]:
    return dict(server.ask("GET", "/openapi.json").json)


def resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        for method in set(METHODS) & set(item):
            yield path, method, item[method]


def test_the_direct_routes_are_described_with_all_their_answers(
    description: dict[str, Any],
) -> None:
    for path in ("/predict", "/predict/batch"):
        operation = description["paths"][path]["post"]
        answers = operation["responses"]
        assert {"200", "400", "403", "413", "415", "421", "422", "503"} <= set(answers)
        for answer in answers.values():
            schema = answer["content"]["application/json"]["schema"]
            assert resolved(description, schema)["properties"]
        assert "Retry-After" in answers["503"]["headers"]
        assert operation["summary"]
        assert operation["requestBody"]["required"]
        assert operation["requestBody"]["content"]["application/json"]["examples"]


def test_every_operation_is_described_with_what_refuses_callers(
    server: Live, description: dict[str, Any]
) -> None:
    for path, _, operation in operations(description):
        key = "error" if path.startswith("/v2") else "detail"
        for status in ("403", "421"):
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert set(resolved(description, schema)["properties"]) == {key}
    for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "http://e.example"}, 403)):
        for path, key in (("/version", "detail"), ("/v2", "error")):
            answer = server.ask("GET", path, headers=headers)
            assert (answer.status, [*answer.json]) == (status, [key])


def test_the_limits_of_the_server_are_in_the_description(description: dict[str, Any]) -> None:
    def schema(path: str) -> dict[str, Any]:
        body = description["paths"][path]["post"]["requestBody"]
        found: dict[str, Any] = body["content"]["application/json"]["schema"]
        return found

    batch = schema("/predict/batch")["properties"]["requests"]
    assert batch["maxItems"] == 256
    for one in (schema("/predict"), batch["items"]):
        assert one["properties"]["sequence"]["maxItems"] == 200
        assert one["properties"]["top_k"]["maximum"] == 30
        assert one["properties"]["variant"]["anyOf"][0]["enum"] == ["fused_topk", "onnx"]
        assert one["required"] == ["user_id", "sequence"]


def test_every_operation_has_a_name_of_its_own(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(names) == len(set(names))


def test_every_example_works(server: Live, description: dict[str, Any]) -> None:
    count = 0
    for path, method, operation in operations(description):
        content = operation.get("requestBody", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            values = {
                parameter["name"]: parameter.get("example") or parameter["schema"]["enum"][0]
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "path"
            }
            answer = server.ask(method.upper(), path.format(**values), example["value"])
            assert answer.status == 200, (path, example, answer)
            count += 1
    assert count >= 5


def test_the_description_loads_nothing_from_elsewhere(server: Live) -> None:
    for path in ("/docs", "/redoc"):
        assert server.ask("GET", path).status == 404


@pytest.mark.slow
def test_the_server_does_what_it_says(server: Live, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis, which needs Python 3.11")
    before = answered(server)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    command += ["--no-color", "--continue-on-failure", "--request-timeout=30"]
    command += [f"--max-examples={EXAMPLES}", "--exclude-checks=positive_data_acceptance"]
    command += [] if "SSEPT_TEST_FUZZ" in os.environ else ["--seed=1"]
    hooks = {"SCHEMATHESIS_HOOKS": HOOKS.stem, "PYTHONPATH": str(HOOKS.parent)}
    ran = subprocess.run(
        command,
        cwd=tmp_path,  # it leaves files there
        env=os.environ | hooks,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    after = answered(server)
    print(ran.stdout)
    print({status: count - before.get(status, 0) for status, count in after.items()})
    assert ran.returncode == 0
    assert not [status for status in after if status >= 500]
    assert server.ask("GET", "/health/ready").status == 200
    assert len(threading.enumerate()) < 100


def answered(server: Live) -> dict[int, float]:
    """How many answers of which status there were."""
    text = server.ask("GET", "/metrics").body.decode()
    counts: dict[int, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "ssept_requests_total":
                status = int(sample.labels["status"])
                counts[status] = counts.get(status, 0) + sample.value
    return counts
