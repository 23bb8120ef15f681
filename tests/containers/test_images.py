"""Each image whose base can be had: built, healthy, without rights, stopped within its grace."""

import errno
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.conftest import ROOT
from tests.containers.engine import Engine

pytestmark = pytest.mark.slow
BUILT = ("fastapi", "triton-cpu", "jupyter-onnx-cpu")
LARGEST_MB = {"fastapi": 650, "triton-cpu": 900, "jupyter-onnx-cpu": 1700}
CLOSED = ("--cap-drop=ALL", "--security-opt=no-new-privileges")
READ_ONLY = ("--read-only", "--tmpfs=/tmp:exec", *CLOSED)
NOT_ACCEPTED = (errno.ECONNREFUSED, errno.EHOSTUNREACH)
Image = Callable[[str], str]


@pytest.fixture
def repository(engine: Engine, image: Image, tmp_path: Path) -> Path:
    """A model repository, written by the Jupyter image."""
    folder = tmp_path / "repository"
    folder.mkdir()
    folder.chmod(0o777)
    where = ("--rm", "--network=none", f"--volume={folder}:/repository")
    command = ("ssept", "triton", "repository", "/repository", "--onnx", "models/SSE_PT10kemb.onnx")
    engine.docker("run", *where, image("jupyter-onnx-cpu"), *command)
    return folder


@pytest.mark.parametrize("name", BUILT)
def test_image_says_what_is_in_it(engine: Engine, image: Image, name: str) -> None:
    inside = json.loads(engine.docker("image", "inspect", image(name)))[0]
    megabytes = inside["Size"] / 1e6
    print(f"{name}: {megabytes:.0f} MB", file=sys.stderr)
    assert megabytes < LARGEST_MB[name]
    assert inside["Config"]["User"] not in ("", "root", "0")
    assert inside["Config"]["Labels"]["org.opencontainers.image.title"] == image(name)
    listed = engine.docker(
        "run", "--rm", "--entrypoint=cat", image(name), "/opt/ssept/sbom.cdx.json"
    )
    names = {part["name"] for part in json.loads(listed)["components"]}
    assert {"ssept", "numpy", "pandas"} <= names


@pytest.mark.parametrize("name", BUILT)
def test_no_image_has_torch_or_a_cache_of_pip(engine: Engine, image: Image, name: str) -> None:
    asked = ("run", "--rm", "--user=0", "--entrypoint=find", image(name), "/opt", "/root", "/home")
    found = engine.docker(
        *asked, *("-path", "*/site-packages/torch", "-o", "-path", "*/.cache/pip")
    )
    assert found == ""


def test_fastapi_answers_without_rights_and_on_a_read_only_root(
    engine: Engine, image: Image
) -> None:
    with engine.container(image("fastapi"), "--publish=127.0.0.1::8080", *READ_ONLY) as server:
        engine.wait_until_healthy(server)
        url = f"http://{engine.docker('port', server, '8080').splitlines()[0]}"
        assert len(predicted(url)["top_items"]) == 3
        assert engine.docker("exec", server, "id", "-u") == "10001"
        with pytest.raises(AssertionError, match="Read-only file system"):
            engine.docker("exec", server, "touch", "/models/new")


def test_sigterm_ends_fastapi_and_loses_no_request(engine: Engine, image: Image) -> None:
    with engine.container(image("fastapi"), *READ_ONLY) as server:
        engine.wait_until_healthy(server)
        # The engine's own forwarder accepts connections that the server no longer does: go past it.
        form = "{{.NetworkSettings.IPAddress}}"
        url = f"http://{engine.docker('inspect', f'--format={form}', server)}:8080"
        lost: list[BaseException] = []
        answers: list[int] = []
        clients = [threading.Thread(target=ask, args=(url, answers, lost)) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(2)
        before = len(answers)
        engine.docker("stop", "--time=20", server)
        for client in clients:
            client.join(20)
        assert before > 0
        assert lost == []
        assert engine.health(server) == "0"


def test_triton_serves_the_repository_and_ends_within_its_grace(
    engine: Engine, image: Image, repository: Path
) -> None:
    where = (f"--volume={repository}:/models:ro", *READ_ONLY)
    with engine.container(image("triton-cpu"), *where) as server:
        engine.wait_until_healthy(server)
        assert "recommender_model_onnx version 1 READY" in engine.docker("logs", server)
        began = time.monotonic()
        engine.docker("stop", "--time=30", server)
        assert time.monotonic() - began < 30
        assert engine.health(server) == "0"


def test_jupyter_runs_notebooks_and_ends_within_its_grace(engine: Engine, image: Image) -> None:
    with engine.container(image("jupyter-onnx-cpu"), *CLOSED) as jupyter:
        engine.wait_until_healthy(jupyter)
        assert engine.docker("exec", jupyter, "id", "-u") == "1000"
        engine.docker(
            *("exec", "--env=SSEPT_NOTEBOOK_SECONDS=0.2", jupyter, "jupyter", "execute"),
            "notebooks/benchmark_system.ipynb",
        )
        engine.docker("stop", "--time=10", jupyter)
        assert engine.health(jupyter) in ("0", "143")


def ask(url: str, answers: list[int], lost: list[BaseException]) -> None:
    """Ask until new connections are refused; note what came back, and what was lost."""
    while True:
        try:
            answers.append(len(predicted(url)["top_items"]))
        except urllib.error.URLError as error:
            # A connection that was never accepted is no lost request.
            if getattr(error.reason, "errno", None) not in NOT_ACCEPTED:
                lost.append(error)
            return
        except OSError as error:
            lost.append(error)
            return


def predicted(url: str) -> dict[str, list[int]]:
    """Ask the server for the three best."""
    body = json.dumps({"user_id": 5, "sequence": [1, 2, 3], "top_k": 3}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, list[int]] = json.load(answer)
    return found


def test_the_gpu_image_is_the_other_one_but_for_its_packages() -> None:
    cpu, gpu = (
        [
            line
            for line in (ROOT / "docker" / f"Dockerfile.jupyter-onnx-{kind}")
            .read_text()
            .splitlines()
            if not line.startswith("#") and "image." not in line and "NVIDIA_" not in line
        ]
        for kind in ("cpu", "gpu")
    )
    differing = [pair for pair in zip(cpu, gpu, strict=True) if pair[0] != pair[1]]
    assert [first for first, _ in differing] == [
        "ARG EXTRA=openvino",
        "    MOVIELENS_DATA_DIR=/mnt/data",
    ]


def test_what_was_not_run_is_said_at_the_head_of_its_file() -> None:
    for name in ("Dockerfile.triton", "Dockerfile.jupyter-onnx-gpu", "docker-compose-gpus.yaml"):
        head = (ROOT / "docker" / name).read_text().partition("FROM")[0]
        assert "NOT RUN" in head, name


def test_only_what_an_image_is_made_of_goes_to_the_engine() -> None:
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert not {"data", ".git", "tests", "tox.ini"} & set(allowed)
    tracked = subprocess.run(
        ["git", "ls-files", *allowed], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pyproject.toml" in tracked
