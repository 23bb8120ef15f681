"""`ssept fleet`: the matrix on the hosts of a Ray cluster, and recommendations for all users."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import ssept
from ssept.cli import main
from ssept.decide.fleet import on_host
from ssept.decide.fleet.hosts import read_hosts
from ssept.errors import SseptError
from ssept.results.files import read_matrix_run
from tests.helpers.matrix import ROOT, environment, run_matrix

KINDS = "amd", "arm", "small"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
K = 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("amd", "not TOML"),
        ("amd = 1", r"\[amd\]: expected a table"),
        ('["a b"]', "expected a name"),
        ("[amd]\noption = []", "'option': expected one of options, python, cpus, runtime_env"),
        ('[amd]\noptions = "--quick"', "options: expected a list of strings"),
        ("[amd]\noptions = [1]", "options: expected a list of strings"),
        ("[amd]\ncpus = 0", "cpus: expected a whole number"),
        ("[amd]\ncpus = true", "cpus: expected a whole number"),
        ("[amd]\npython = 3", "python: expected the path"),
        ('[amd]\nruntime_env = "x"', "runtime_env: expected a table"),
    ],
)
def test_hosts_that_are_none_are_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(text)
    with pytest.raises(SseptError, match=said) as caught:
        read_hosts(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_hosts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text('[amd]\n[small]\noptions = ["--quick"]\ncpus = 1\npython = "/x/python"\n')
    amd, small = read_hosts(path)
    assert (amd.name, list(amd.options), amd.cpus) == ("amd", [], None)
    assert (small.name, list(small.options), small.cpus) == ("small", ["--quick"], 1)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere:port", "auto"])
def test_without_a_cluster_there_is_one_line(tmp_path: Path, address: str) -> None:
    hosts = tmp_path / "hosts.toml"
    hosts.write_text("[amd]\n")
    words = ["fleet", "run", str(hosts), f"--address={address}", f"--out={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "ssept.cli", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 3
    assert f"--address={address}: no Ray cluster" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_clone_that_is_made_again_meanwhile_is_copied_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, copy = tmp_path / "clone", tmp_path / "copy"
    clone.mkdir()
    monkeypatch.setattr(on_host, "POLL_SECONDS", 0.05)

    def make() -> None:
        for number in range(20):
            (clone / f"{number}.py").write_text("x" * number)
            time.sleep(0.02)
        (clone / "pyproject.toml").write_text("")

    making = Thread(target=make)
    making.start()
    try:
        assert len(list(on_host._copied(clone, copy).iterdir())) == 21
    finally:
        making.join()
    shutil.rmtree(clone)
    monkeypatch.setattr(on_host, "TRIES", 2)
    with pytest.raises(RuntimeError, match="has not kept the clone"):
        on_host._copied(clone, tmp_path / "other")


@contextmanager
def cluster() -> Iterator[tuple[str, Callable[[str], None]]]:
    """The address of a cluster, and what tells it to kill and to add nodes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.ray_cluster", *KINDS],
        cwd=ROOT,
        env=environment() | TOKEN,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    assert process.stdout

    def answer() -> str:
        assert process.stdout
        for line in process.stdout:
            if line.startswith(("address", "done")):
                return line.split()[-1]
        raise AssertionError("the cluster has ended")

    def tell(line: str) -> None:
        assert process.stdin
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        answer()

    try:
        yield answer(), tell
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.mark.slow
def test_three_kinds_of_hosts_one_of_which_is_lost(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    hosts, out = tmp_path / "hosts.toml", tmp_path / "out"
    hosts.write_text(
        '[amd]\noptions = ["--providers=cpu,openvino"]\n[arm]\noptions = ["--providers=cpu"]\n'
        '[small]\noptions = ["--providers=cpu"]\ncpus = 1\n'
    )
    options = [
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        *("--rounds=45", "--variants=onnx,torch", "--cell-seconds=4"),
        "-k",
        "latency or accuracy",
    ]
    quoted = " ".join(f"'{each}'" for each in options)
    with cluster() as (address, tell):
        fleet = subprocess.Popen(
            [
                *(sys.executable, "-m", "ssept.cli", "fleet", "run", str(hosts)),
                *(f"--out={out}", f"--address={address}", f"--matrix={quoted}"),
            ],
            cwd=ROOT,
            env=environment() | TOKEN,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        wait_for(lambda: (out / "small/0001_run.json").exists(), fleet)
        tell("kill small")
        tell("add small")
        said, _ = fleet.communicate(timeout=400)
        logs = [path.read_text() for path in out.rglob("log.txt")]
        assert fleet.returncode == 0, "\n".join([*logs, said])
        assert "small" in said
        # Ray may give the run to the dead node again before it knows.
        assert re.search(r"small: .* restarted (once|\d times) on another node", said), said
        assert "One for all machines" in said
        # What is there already is not measured again.
        again = subprocess.run(
            fleet.args, cwd=ROOT, env=environment() | TOKEN, check=False, timeout=400
        )
        assert again.returncode == 0
    runs = {kind: read_matrix_run(out / kind / "0001_run.json") for kind in KINDS}
    for kind, run in runs.items():
        info = run.content.machine_info
        assert info
        assert info.ssept
        assert info.ssept["host"] == kind
        assert run.content.ssept.code_sha256 == runs["amd"].content.ssept.code_sha256
        commit = run.content.commit_info
        assert commit
        assert commit.id != "unversioned"
    assert runs["small"].content.ssept.resumed >= 1
    info = runs["small"].content.machine_info
    assert info
    assert info.ssept
    assert info.ssept["cpus_allowed"] == 1
    by_hand = run_matrix(tmp_path / "by_hand", *options, "--providers=cpu,openvino")
    assert by_hand.code == 0
    (path,) = (tmp_path / "by_hand").rglob("*.json")
    assert measured(read_matrix_run(path)) == measured(runs["amd"])
    assert measured(runs["arm"]) == measured(runs["small"]) < measured(runs["amd"])


def measured(run: Any) -> set[str]:
    return {each.fullname for each in run.benchmarks}


def wait_for(ready: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if ready():
            return
        assert process.poll() is None
        time.sleep(0.2)
    raise AssertionError("nothing happened")


ROWS, GROUP = 3000, 100


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """Two Parquet files of made-up histories, a few of them empty, longer or of unknown users."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder, random = tmp_path / "histories", np.random.default_rng(0)
    folder.mkdir()
    for number in range(2):
        lengths = random.integers(0, 60, ROWS // 2)
        sequences = [random.integers(1, 300, length).tolist() for length in lengths]
        table = pa.table(
            {
                "id": [f"{number}-{row}" for row in range(ROWS // 2)],
                "user": random.integers(0, 40, ROWS // 2),
                "sequence": pa.array(sequences, pa.list_(pa.int64())),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=GROUP)
    (folder / ".2.parquet.half.parquet").write_bytes(b"PAR1")
    return folder


def recommend(histories: Path, out: Path, checkpoint: Path, *options: str) -> list[str]:
    words = ["fleet", "recommend", str(histories), str(out), f"--checkpoint={checkpoint}"]
    return [*words, "--variant=onnx_topk", f"-k={K}", "--address=local", *options]


@pytest.mark.slow
def test_recommendations_are_those_of_a_session_also_after_a_kill(
    tmp_path: Path, histories: Path, small_checkpoint: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out, home = tmp_path / "out", tmp_path / "home"
    home.mkdir()
    env = environment() | {"HOME": str(home)}
    words = [sys.executable, "-m", "ssept.cli", *recommend(histories, out, small_checkpoint)]
    process = subprocess.Popen(words, cwd=ROOT, env=env, start_new_session=True, text=True)
    wait_for(lambda: len([*out.glob("0*.parquet")]) > 1, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (out / f".00001-{ROWS // 2 // GROUP - 1:05}.parquet.half.parquet").write_bytes(b"PAR1")
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("0*.parquet")}
    done = subprocess.run(
        [*words, "--workers=2"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Ray" not in done.stderr
    assert not (home / ".ray").exists()
    assert f"{ROWS:,} rows" in done.stdout
    files = sorted(out.glob("0*.parquet"))
    assert len(files) == ROWS // GROUP
    times = {path.name: path.stat().st_mtime_ns for path in files}
    assert times.items() >= before.items()
    assert {path.name for path in out.iterdir()} == {"about.json", *times}
    found = pa.concat_tables([pq.read_table(file) for file in files])
    given = pa.concat_tables([pq.read_table(file) for file in sorted(histories.glob("[01]*"))])
    assert found["id"].to_pylist() == given["id"].to_pylist()
    session = ssept.load(small_checkpoint, variant="onnx_topk", provider="cpu")
    for row in range(0, ROWS, 37):
        sequence = given["sequence"][row].as_py() or [0]
        ids, scores = session.recommend(
            [given["user"][row].as_py()], [sequence[-50:]], K, exclude=[sequence]
        )
        assert found["ids"][row].as_py() == ids[0].tolist()
        assert found["scores"][row].as_py() == pytest.approx(scores[0].tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: folder.joinpath("0.parquet").write_bytes(b"no"), "not a Parquet file"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no Parquet file"),
        (lambda folder: renamed(folder / "0.parquet"), "has no column user"),
    ],
)
def test_histories_that_are_none_are_refused_before_anything_starts(
    tmp_path: Path,
    histories: Path,
    small_checkpoint: Path,
    change: Callable[[Path], object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(histories)
    assert main(recommend(histories, tmp_path / "out", small_checkpoint)) == 3
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def renamed(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(path).rename_columns(["id", "person", "sequence"]), path)


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path,
    histories: Path,
    small_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(recommend(histories, out, small_checkpoint)) == 3
    assert "is not an empty folder" in capsys.readouterr().err
    (out / "mine.txt").unlink()
    (out / "about.json").write_text(json.dumps({"k": 10}))
    assert main(recommend(histories, out, small_checkpoint)) == 3
    assert "of another model file" in capsys.readouterr().err
