"""`ssept export`: saved runs in MLflow and in the Bencher Metric Format."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.report.exports.bencher import bencher_metrics
from ssept.report.exports.mlflow import export, metric_name
from ssept.report.page.material import Material, labelled
from ssept.report.page.measures import measures_of
from ssept.results.files import read_matrix_run
from tests.conftest import tool_environment
from tests.guard import Guard

RUNS = sorted(Path(__file__).parents[1].glob("data/runs/*.json"))
REQUIREMENTS = Path(__file__).parents[1] / "helpers/mlflow/requirements.txt"
START_SECONDS = 90
MEGABYTES = 850


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem[:4])
def test_bencher_has_the_figures_in_its_units(path: Path) -> None:
    run = read_matrix_run(path)
    found = bencher_metrics(run)
    assert found.keys() == {each.name for each in run.benchmarks}
    for benchmark in run.benchmarks:
        p50 = getattr(benchmark.extra_info, "p50_ms", None)
        if p50 is None:
            continue
        latency = found[benchmark.name]["latency"]
        assert latency["value"] == p50.value * 1e6
        assert latency["lower_value"] <= latency["value"] <= latency["upper_value"]


def test_the_command_prints_or_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "bencher", str(RUNS[0])]) == 0
    printed = json.loads(capsys.readouterr().out)
    path = tmp_path / "bmf.json"
    assert main(["export", "bencher", str(RUNS[0]), "-o", str(path)]) == 0
    assert json.loads(path.read_text()) == printed


def test_without_a_server_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["export", "mlflow", str(RUNS[0])]) == 1
    assert "--uri is missing" in capsys.readouterr().err
    assert main(["export", "mlflow", str(RUNS[0]), "--uri=http://127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert "--uri=http://127.0.0.1:1: MLflow: " in error
    assert len(error.splitlines()) == 1


@pytest.fixture(scope="module")
def server(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's own server, from an environment of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    python = tool_environment(guard, "mlflow", REQUIREMENTS, MEGABYTES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        *(str(python), "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"),
        *("--workers=1", f"--backend-store-uri=sqlite:///{folder}/store.db"),
        f"--artifacts-destination={folder}/artifacts",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        for _ in range(START_SECONDS):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run(["pkill", "-KILL", "-g", str(process.pid)], check=False)
        process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow's client
def test_what_is_read_back_from_a_server_is_equal(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    run = read_matrix_run(RUNS[0])
    assert main(["export", "mlflow", str(RUNS[0]), f"--uri={server}", "--experiment=e"]) == 0
    assert "of the experiment e" in capsys.readouterr().out
    client = MlflowClient(server)
    place = client.get_experiment_by_name("e").experiment_id
    found = client.search_runs([place])
    (parent,) = [each for each in found if "mlflow.parentRunId" not in each.data.tags]
    cells = {
        each.info.run_name: each
        for each in found
        if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert cells.keys() == {f"{each.variant}-{each.provider}" for each in run.facts}
    for measure in measures_of(Material(runs=labelled([run]))):
        metrics = cells[f"{measure.variant}-{measure.provider}"].data.metrics
        assert metrics[metric_name(measure)] == measure.value
        for end, value in ((".low", measure.low), (".high", measure.high)):
            assert metrics.get(metric_name(measure) + end) == value
    copy = client.download_artifacts(parent.info.run_id, RUNS[0].name, str(tmp_path))
    assert Path(copy).read_bytes() == RUNS[0].read_bytes()
    commit = run.content.commit_info
    assert commit
    assert parent.data.tags["mlflow.source.git.commit"] == commit.id
    # The same file once more is the same run.
    assert export([run], server, "e") == {str(RUNS[0]): parent.info.run_id}
    assert len(client.search_runs([place])) == len(found)
