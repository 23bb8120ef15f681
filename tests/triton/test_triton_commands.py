"""The commands and the benchmarks that use the server, and the container's command line."""

import csv
import json
import re
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from ssept.cli import main
from ssept.errors import LoadError, SseptError
from ssept.serving.triton.command import IMAGE
from ssept.serving.triton.perf_analyzer import Load, measure, read_report
from ssept.serving.triton.server import TritonServer, free_ports, running
from tests.helpers.matrix import run_matrix
from tests.helpers.servers.triton_files import (
    LARGEST_BATCH,
    LENGTH,
    NAME,
    matrix_options,
    needs_server,
    repository,
    start,
    url,
)

pytestmark = needs_server


@pytest.fixture(scope="module")
def server(triton_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("server")
    models = repository(folder / "models")
    with running(models, folder / "server.log", free_ports()) as server:
        yield server


@pytest.mark.slow
@pytest.mark.usefixtures("triton_tools")
def test_serve_ends_with_the_error_of_a_broken_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = repository(tmp_path / "models")
    (models / NAME / "1" / "model.onnx").write_text("no model")
    log = tmp_path / "serve.log"
    assert main(["triton", "serve", str(models), "--ports", "free", "--log", str(log)]) == 1
    assert f"ssept: error: tritonserver: ended with 1: failed to load '{NAME}'" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("ports", ["8000", "1,2,x", "0,1,2", "1,2,65536"])
def test_serve_refuses_what_are_no_ports(ports: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["triton", "serve", "models", f"--ports={ports}"])
    assert "expected three port numbers" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "rate"), [("http", None), ("grpc", None), ("http", 50.0)], ids=str
)
def test_perf_analyzer_gives_the_servers_times_beside_the_clients(
    server: TritonServer, protocol: str, rate: float | None
) -> None:
    load = Load(url(server, protocol), NAME, protocol, 2, 3, rate)
    figures = measure(load)
    assert figures.inferences_per_s > 0
    assert figures.p50_us <= figures.p90_us <= figures.p95_us <= figures.p99_us
    inside = figures.compute_input_us + figures.compute_infer_us + figures.compute_output_us
    assert 0 < figures.queue_us + inside < figures.latency_us


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "batch", "message"),
    [("nobody", 1, "unknown model: 'nobody'"), (NAME, LARGEST_BATCH + 1, "batch-size must be")],
)
def test_figures_of_failed_requests_are_refused(
    server: TritonServer, model: str, batch: int, message: str
) -> None:
    with pytest.raises(LoadError, match=rf"ended with 99: (.|\n)*{message}"):
        measure(Load(server.http, model, batch=batch))


@pytest.mark.parametrize(
    "text", ["", "Concurrency,Inferences/Second\n", "Concurrency,Inferences/Second\n1,5\n"]
)
def test_a_report_without_the_figures_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.csv"
    path.write_text(text)
    with pytest.raises(LoadError, match=r"report\.csv: no report"):
        read_report(path)


@pytest.mark.slow
def test_perf_runs_perf_analyzer_with_its_own_arguments(
    server: TritonServer, capfd: pytest.CaptureFixture[str]
) -> None:
    common = ["triton", "perf", "--", "-u", server.http, "-p", "200", "-r", "3", "-s", "999"]
    # One flag with two shapes is how some write it; the second is not read.
    for shapes in (["--shape", "USER_ID:1", "--shape", f"SEQ:{LENGTH}"], ["--shape", "USER_ID:1"]):
        assert main([*common, "-m", NAME, *shapes, "--concurrency-range", "2"]) == 0
        assert "Concurrency: 2, throughput:" in capfd.readouterr().out
    assert main([*common, "-m", "nobody"]) == 99
    assert "unknown model: 'nobody'" in capfd.readouterr().err


FAKE_DOCKER = f"""#!{sys.executable}
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
with Path(__file__).with_name("calls").open("a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if sys.argv[1] != "run":
    sys.exit()
options = dict(word.partition("=")[::2] for word in sys.argv if "=" in word)
host, port, _ = next(w for w in sys.argv if w.endswith(":8000")).split("=")[1].split(":")

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/v2":
            self.wfile.write(json.dumps({{"name": options["--id"]}}).encode())

    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        model = {{"name": "m", "version": "1", "state": "READY"}}
        self.wfile.write(json.dumps([model]).encode())

HTTPServer((host, int(port)), Answer).serve_forever()
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in Docker's place, for there is none here; the file of its calls."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(FAKE_DOCKER)
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(docker.parent))
    return docker.with_name("calls")


# Odd names, each with the field of a mount that Docker then has to read.
FOLDERS = ["models", "a,readonly=false", "a,target=/etc,b", 'say "so"', ",", "a=b c"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docker_runs_the_same_repository_in_the_container(
    docker: Path, tmp_path: Path, folder: str
) -> None:
    models, ports = repository(tmp_path / folder), free_ports()
    with running(models, tmp_path / "log", ports, image=IMAGE) as server:
        assert server.models() == [{"name": "m", "version": "1", "state": "READY"}]
        process = psutil.Process(server.pid)
    assert not process.is_running()
    run, removal = map(json.loads, docker.read_text().splitlines())
    (name,) = [word.removeprefix("--name=") for word in run if word.startswith("--name=")]
    assert removal == ["rm", "--force", name]
    assert f"--publish=127.0.0.1:{ports.grpc}:8001" in run
    (mount,) = [word.removeprefix("--mount=") for word in run if word.startswith("--mount=")]
    (fields,) = csv.reader([mount])  # as Docker reads it
    assert fields == ["type=bind", f"source={models}", "target=/models", "readonly"]
    assert run[-4:] == [IMAGE, "tritonserver", f"--id={name}", "--model-repository=/models"]


@pytest.mark.parametrize(
    "image", ["--privileged", "-v=/:/host", "", " ", "a b", "a;b", "-", "a\nb"]
)
def test_what_is_no_image_does_not_reach_docker(
    docker: Path, tmp_path: Path, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    models = repository(tmp_path / "models")
    arguments = ["triton", "serve", str(models), "--ports=free", f"--log={tmp_path / 'log'}"]
    assert main([*arguments, "--docker", f"--image={image}"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"ssept: error: --image {image!r}: expected the name of a container's")
    assert not docker.exists()


def test_the_container_is_of_a_release_without_the_known_faults() -> None:
    year, month = re.fullmatch(r"nvcr\.io/nvidia/tritonserver:(\d\d)\.(\d\d)-py3", IMAGE).groups()
    assert (int(year), int(month)) >= (25, 7)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "192.0.2.1", "::", "example.org", "127.1", "10.0.0.1"]
)
def test_the_server_of_the_wheel_listens_for_this_machine_alone(
    tmp_path: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ssept.serving.triton.server._check_free", lambda *_: None)
    models = repository(tmp_path / "models")
    arguments = ["triton", "serve", str(models), "--ports=free", f"--log={tmp_path / 'log'}"]
    assert main([*arguments, f"--address={address}"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert f"--address {address}: the tritonserver of PyPI is 24.10" in error
    assert "--docker" in error


@pytest.mark.slow
def test_what_the_server_makes_is_its_owner_s_alone(server: TritonServer) -> None:
    umask = re.search(r"^Umask:\s*(\d+)$", Path(f"/proc/{server.pid}/status").read_text(), re.M)
    assert umask
    assert int(umask[1], 8) == 0o077
    (name,) = [word for word in psutil.Process(server.pid).cmdline() if word.startswith("--id=")]
    segments = list(Path("/dev/shm").glob(f"{name.removeprefix('--id=')}*"))
    assert segments
    assert {stat.S_IMODE(segment.stat().st_mode) & 0o077 for segment in segments} == {0}


REGION = {"key": "/mine", "offset": 0, "byte_size": 8}
CLOSED = [
    ("/v2/systemsharedmemory/region/mine/register", REGION),
    ("/v2/cudasharedmemory/region/mine/register", REGION),
    ("/v2/logging", {"log_info": False}),
    ("/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body"), CLOSED, ids=[path for path, _ in CLOSED])
def test_no_page_reaches_more_than_the_models(
    server: TritonServer, path: str, body: dict[str, Any]
) -> None:
    request = urllib.request.Request(f"http://{server.http}{path}", json.dumps(body).encode())
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert answer.code == 403


@pytest.mark.slow
def test_nobody_registers_shared_memory_by_grpc(server: TritonServer) -> None:
    with (
        grpc.InferenceServerClient(server.grpc) as client,
        pytest.raises(InferenceServerException, match="This protocol is restricted"),
    ):
        client.register_system_shared_memory("mine", "/mine", 8)


def test_no_docker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SseptError, match="docker is not installed"):
        start(repository(tmp_path / "models"), tmp_path / "server.log", image=IMAGE)


@pytest.mark.slow
def test_the_matrix_starts_no_server_unasked(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    run = run_matrix(tmp_path, *matrix_options(small_folder, small_checkpoint))
    assert run.code == 0, run.output
    assert "--triton is not given" in run.output
    assert "passed" not in run.output


@pytest.mark.slow
@pytest.mark.usefixtures("triton_tools")
def test_the_matrix_holds_served_answers_against_those_in_process(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    options = matrix_options(small_folder, small_checkpoint)
    run = run_matrix(tmp_path, *options, "--triton", "-kanswers or accuracy or (http and c08-b001)")
    assert run.code == 0, run.output
    assert run.cells("served accuracy")["test_accuracy"]["full"]["users"]
    (load,) = run.cells("served load").values()
    assert load["figures"]["queue_us"] > 0
    assert f"{NAME} http  8 at a time, batch 1" in run.output
