"""The manifests of the HTTP server, against that server: hosts, probes, metrics, its end."""

import http.client
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ssept.serving.runtime.uvicorn_server import (
    GRACE_SECONDS,
    HANDSHAKE_POLLS,
    LINGER_POLLS,
    POLL_SECONDS,
)
from ssept.serving.settings import from_environment
from tests.helpers.deploy.kustomize import Manifest, pods, rendered
from tests.helpers.matrix import ROOT, environment

FASTAPI = ROOT / "deploy/kubernetes/fastapi"
POD_IP = "10.1.2.3"
SECONDS = 60


BASE = rendered(FASTAPI / "base")
(TEMPLATE,) = pods(BASE)
SERVER = TEMPLATE["spec"]["containers"][0]
(AUTOSCALER,) = (each for each in BASE if each["kind"] == "HorizontalPodAutoscaler")


def variables(server: Manifest = SERVER) -> dict[str, str]:
    """The container's environment variables, as the kubelet makes them."""
    fields = {"status.podIP": POD_IP, "metadata.namespace": "shop"}
    found: dict[str, str] = {}
    for each in server["env"]:
        if "value" in each:
            value = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], each["value"])
        else:
            value = fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        found[each["name"]] = value
    return found


@contextmanager
def served(checkpoint: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The server as the manifest starts it, but for its model and port; with the port."""
    program, *arguments = SERVER["command"]
    assert program == "ssept"
    with subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", *arguments, "--port=0"],
        env=environment() | variables() | {"SSEPT_CHECKPOINT": str(checkpoint)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            address = re.search(r"http://0\.0\.0\.0:(\d+)", process.stdout.readline())
            assert address
            yield process, int(address[1])
        finally:
            process.kill()


def ask(port: int, path: str, host: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_server_as_the_manifest_starts_it(small_checkpoint: Path) -> None:
    with served(small_checkpoint) as (process, port):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = SERVER[probe]["httpGet"]["path"]
            assert ask(port, path, f"{POD_IP}:{port}")[0] == 200
        for host in ("ssept-fastapi", "ssept-fastapi.shop.svc.cluster.local", "localhost"):
            assert ask(port, "/health/ready", f"{host}:{port}")[0] == 200
        assert ask(port, "/health/ready", "other.example")[0] == 421

        scraped = TEMPLATE["metadata"]["annotations"]["prometheus.io/path"]
        text = ask(port, scraped, f"{POD_IP}:{port}")[1]
        for metric in AUTOSCALER["spec"]["metrics"]:
            assert f"\n{metric['pods']['metric']['name']}{{" in text

        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_the_grace_covers_the_longest_shutdown() -> None:
    settings = from_environment(variables())
    asleep = SERVER["lifecycle"]["preStop"]["sleep"]["seconds"]
    # Connections that are being made, requests on their way, and those that are answered.
    polled = (HANDSHAKE_POLLS + 2 * LINGER_POLLS) * POLL_SECONDS
    longest = polled + math.ceil(settings.deadline_ms / 1000) + GRACE_SECONDS
    assert asleep + longest < TEMPLATE["spec"]["terminationGracePeriodSeconds"]


def test_a_pod_runs_one_process() -> None:
    """What waits is a gauge of one process: of several, a scrape would see any one of them."""
    assert "--workers=1" in SERVER["command"]


@pytest.mark.parametrize(
    ("folder", "ingress"),
    [("base", set()), ("overlays/staging", set()), ("overlays/production", {"recommend.example"})],
)
def test_settings_are_what_the_server_reads(folder: str, ingress: set[str]) -> None:
    (pod,) = pods(rendered(FASTAPI / folder))
    settings = from_environment(variables(pod["spec"]["containers"][0]))
    name = "ssept-fastapi"
    services = {name, *(f"{name}.shop{end}" for end in ("", ".svc", ".svc.cluster.local"))}
    assert {*settings.allowed_hosts} == {POD_IP} | services | ingress
