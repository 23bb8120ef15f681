"""The compose files: data and JupyterLab, Triton beside it, the HTTP server."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.containers.conftest import ROOT
from tests.containers.engine import Engine

DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("docker-compose-*.yaml"))
TOGETHER = ("docker-compose-data.yaml", "docker-compose-triton.yaml")
PERF = (
    *("perf_analyzer", "-u", "triton_server:8000", "-m", "recommender_model_onnx"),
    *("--shape", "USER_ID:1", "--shape", "SEQ:50", "-p", "1000", "-r", "3", "-s", "999"),
)


class Project:
    """Services of some compose files, under a name of the tests' own."""

    def __init__(
        self,
        engine: Engine,
        files: tuple[str, ...],
        variables: dict[str, str],
        name: str = "ssept_tests",
    ) -> None:
        self._engine = engine
        self._variables = variables
        self._command = ("docker-compose", f"--project-name={name}")
        for name in files:
            self._command += ("--file", str(DOCKER / name))

    def __call__(self, *arguments: str, check: bool = True) -> str:
        return self._engine.run(*self._command, *arguments, check=check, variables=self._variables)

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self("ps", "--quiet", service)


@pytest.fixture(scope="module")
def triton(
    engine: Engine, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    image("triton-cpu"), image("jupyter-onnx-cpu")
    data = tmp_path_factory.mktemp("data")
    (data / "u.data").write_text("1\t2\t3\t4\n")
    data.chmod(0o755)
    variables = {"MOVIELENS_DATA_DIR": str(data), "TRITON_IMAGE": "triton-cpu"}
    project = Project(engine, TOGETHER, variables | {"JUPYTER_PORT": "0", "TRITON_INSTANCES": "2"})
    try:
        project("up", "--detach", "--no-build")
        for service in ("jupyter", "triton_server"):
            engine.wait_until_healthy(project.container(service))
        yield project
    finally:
        project("down", "--volumes", "--timeout=30", check=False)


@pytest.mark.slow
def test_the_model_is_ready_and_has_its_instances(engine: Engine, triton: Project) -> None:
    assert "recommender_model_onnx version 1 READY" in engine.docker("logs", "triton_server")
    config = json.loads(_asked(triton, "v2/models/recommender_model_onnx/config"))
    assert [(group["count"], group["kind"]) for group in config["instance_group"]] == [
        (2, "KIND_CPU")
    ]


@pytest.mark.slow
def test_instances_on_several_gpus_are_written_into_the_repository(
    engine: Engine, image: Callable[[str], str], tmp_path: Path
) -> None:
    image("jupyter-onnx-cpu")
    variables = {"MOVIELENS_DATA_DIR": str(tmp_path), "TRITON_IMAGE": "triton-cpu"}
    asked = {"TRITON_INSTANCES": "2", "TRITON_GPUS": "0,1"}
    project = Project(engine, TOGETHER, variables | asked, "ssept_tests_gpus")
    try:
        project("run", "--rm", "repository")
        show = ("run", "--rm", "--entrypoint=cat", "repository")
        config = project(*show, "/repository/recommender_model_onnx/config.pbtxt")
    finally:
        project("down", "--volumes", check=False)
    (group,) = re.findall(r"instance_group \{([^}]*)\}", config)
    assert sorted(re.findall(r"(\w+): (\w+)", group)) == [
        *(("count", "2"), ("gpus", "0")),
        *(("gpus", "1"), ("kind", "KIND_GPU")),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [8, 16])
def test_perf_analyzer_loads_triton_from_inside_jupyter(triton: Project, concurrency: int) -> None:
    # A request that fails ends it with status 99.
    said = triton("exec", "-T", "jupyter", *PERF, "--concurrency-range", str(concurrency))
    answered = int(re.findall(r"Request count: (\d+)", said)[-1])
    assert answered > 100
    assert "throughput" in said


@pytest.mark.slow
def test_jupyter_reads_the_data_and_cannot_change_them(triton: Project) -> None:
    assert triton("exec", "-T", "jupyter", "cat", "/mnt/data/u.data") == "1\t2\t3\t4"
    triton("exec", "-T", "jupyter", "sh", "-c", "! touch /mnt/data/new 2>/dev/null")
    triton("exec", "-T", "jupyter", "sh", "-c", "touch results/new && rm results/new")


@pytest.mark.slow
def test_fastapi_serves_own_model_files(
    engine: Engine, image: Callable[[str], str], tmp_path: Path
) -> None:
    image("fastapi")
    project = Project(
        engine, ("docker-compose-fastapi.yaml",), {"VARIANT": "quant_dynamic", "PORT": "0"}
    )
    try:
        project("up", "--detach", "--no-build")
        server = project.container("fastapi")
        engine.wait_until_healthy(server)
        port = engine.docker("port", server, "8080").splitlines()[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=5) as answer:
            assert "quant_dynamic" in answer.read().decode()
        began = time.monotonic()
        project("stop")
        assert time.monotonic() - began < 30
        assert engine.health(server) == "0"
    finally:
        project("down", "--volumes", check=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_services_have_no_rights_and_publish_to_this_machine_alone(path: Path) -> None:
    for name, service in yaml.safe_load(path.read_text())["services"].items():
        if "image" not in service:  # an addition to a service of another file
            continue
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not service["image"].endswith(":latest"), name


def test_the_dashboard_asks_for_metrics_that_the_server_has(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    from ssept.serving.launch.ssept_serve import running
    from ssept.serving.settings import ServerSettings

    board = json.loads((DOCKER / "metrics" / "dashboard.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ssept_\w+", target["expr"])
    }
    with (
        running(ServerSettings(model=small_checkpoint), tmp_path / "log") as server,
        urllib.request.urlopen(f"{server.url}/metrics", timeout=5) as answer,
    ):
        text = answer.read().decode()
    families = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    for name in asked:
        bare = re.sub(r"_(bucket|sum|count)$", "", name)
        assert families & {bare, name, name.removesuffix("_total")}, name


def _asked(project: Project, path: str) -> str:
    """Ask Triton over HTTP from inside JupyterLab."""
    program = f"from urllib.request import urlopen; print(urlopen('http://triton_server:8000/{path}').read().decode())"
    return project("exec", "-T", "jupyter", "python3", "-c", program)
