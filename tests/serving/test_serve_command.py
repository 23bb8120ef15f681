"""`ssept serve`: what it says, what it answers, and what it refuses with which words."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ssept.measure.settings import Settings as Tuned
from ssept.measure.settings import write_settings
from ssept.providers import PROVIDERS
from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
from tests.helpers.matrix import ROOT, run_matrix
from tests.helpers.servers.serve_clients import ADDRESS, ask

TIMEOUT_SECONDS = 60


def serve(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end, which is an error or --help."""
    return subprocess.run(
        [sys.executable, "-m", "ssept.cli", "serve", "--port=0", *map(str, arguments)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def refusal(*arguments: str | Path, **variables: str) -> str:
    """The one line that it ends with."""
    done = serve(*arguments, **variables)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ssept: error: ")
    assert not done.stdout
    return line


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_it_says_one_line_answers_and_stops_when_told(
    small_checkpoint: Path, stop: signal.Signals, workers: int
) -> None:
    arguments = [f"--model={small_checkpoint}", f"--workers={workers}", "--variant=onnx,fused_topk"]
    with subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "serve", "--port=0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        name = small_checkpoint.stem
        about, _, rest = line.partition(", at http://127.0.0.1:")
        assert about == f"ssept: {name}, onnx, fused_topk on cpu"
        port, _, rest = rest.partition(", ")
        assert rest.startswith(f"model {name}-")
        assert rest.endswith("; Ctrl-C stops it\n")
        answer = ask(f"http://{ADDRESS}:{port}", "/version")
        assert set(answer["variants"]) == {"onnx", "fused_topk"}
        process.send_signal(stop)
        assert process.stdout.read() == "stopped\n"
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_help_tells_every_option_and_the_settings_defaults() -> None:
    done = serve("--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    defaults = ServerSettings()
    for told in (
        f"--variant NAMES variants to serve, separated by commas; requests use the first one by "
        f"default (default: {','.join(defaults.variants)})",
        f"(default: {defaults.max_wait_ms})",
        f"(default: {defaults.max_body_bytes})",
        "--port PORT the port to listen on; 0 for a free one (default: 8080)",
        "(default: 127.0.0.1)",
    ):
        assert told in text


def broken(folder: Path) -> str:
    path = folder / "model.safetensors"
    path.write_bytes(b"broken")
    return f"--model={path}"


def foreign_tuned(folder: Path) -> str:
    path = folder / "tuned.json"
    path.write_text(json.dumps({"schema": 1, "cpu": "another one", "cells": {}}))
    return f"--tuned={path}"


def broken_tuned(folder: Path) -> str:
    path = folder / "tuned.json"
    path.write_text("{")
    return f"--tuned={path}"


def empty_tuned(folder: Path) -> str:
    write_settings(folder / "tuned.json", "onnx-cpu", Tuned(), {})
    return f"--tuned={folder / 'tuned.json'}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda _: "--variant=nobody", "unknown variant 'nobody'; expected one of torch, onnx, "),
        (lambda _: "--provider=nobody", "unknown provider 'nobody'; expected one of torch, "),
        (lambda _: "--provider=torch", "torch does not run fused_topk; these do: cpu, "),
        (lambda folder: f"--model={folder}/x.safetensors", "x.safetensors: no such checkpoint"),
        (broken, "model.safetensors: not a whole checkpoint file"),
        (lambda folder: f"--tuned={folder}/none.json", "none.json: no such file; `ssept tune`"),
        (broken_tuned, "tuned.json: not a file of `ssept tune`"),
        (foreign_tuned, "tuned.json: tuned on another one, but this machine has "),
        (empty_tuned, "tuned.json: has no settings for fused_topk-cpu; run `ssept tune --variant"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_cannot_serve_is_told_in_one_line(
    tmp_path: Path,
    small_checkpoint: Path,
    given: Callable[[Path], str],
    words: str,
) -> None:
    assert words in refusal(f"--model={small_checkpoint}", given(tmp_path))


def test_what_workers_cannot_serve_is_told_once(tmp_path: Path) -> None:
    assert "not a whole checkpoint file" in refusal(broken(tmp_path), "--workers=2")


def test_a_provider_that_is_not_there_is_told(small_checkpoint: Path) -> None:
    missing = {name: reason for name in PROVIDERS if (reason := PROVIDERS[name].unavailable())}
    name = next(name for name in ("tensorrt", "cuda", "openvino") if name in missing)
    line = refusal(f"--model={small_checkpoint}", f"--provider={name}", "--variant=fused")
    assert missing[name] in line


def test_a_port_that_is_taken_is_told(small_checkpoint: Path) -> None:
    with socket.create_server((ADDRESS, 0)) as other:
        port = other.getsockname()[1]
        line = refusal(f"--model={small_checkpoint}", f"--port={port}")
    assert f"cannot listen on {ADDRESS}:{port}: Address already in use" in line


def test_a_host_that_is_not_this_machine_is_told(small_checkpoint: Path) -> None:
    line = refusal(f"--model={small_checkpoint}", "--host=192.0.2.1")
    assert "cannot listen on 192.0.2.1:0: " in line


WITHOUT = """
import sys
sys.modules["fastapi"] = None
from ssept.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serve"], 1, "ssept: error: serving needs fastapi: install the serve extra\n"),
        (["--help"], 0, "serve recommendations over HTTP"),
        (["serve", "--help"], 0, "--max-body-bytes"),
    ],
)
def test_an_install_without_the_extra_says_so_and_has_help(
    arguments: list[str], code: int, words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert words in (done.stderr or done.stdout)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--port=65536", "65536: expected a port number from 0 to 65535"),
        ("--threads=0", "0: expected a whole number of at least 1"),
        ("--deadline-ms=soon", "soon: expected milliseconds above 0"),
        ("--workers=none", "none: expected a whole number of at least 1"),
    ],
)
def test_numbers_that_make_no_sense_are_usage_errors(option: str, words: str) -> None:
    done = serve(option)
    assert done.returncode == 2
    assert words in done.stderr


def test_an_option_wins_over_its_variable(small_checkpoint: Path) -> None:
    line = refusal(f"--model={small_checkpoint}", SSEPT_VARIANT="nobody")
    assert "unknown variant 'nobody'" in line
    line = refusal("--model=else.safetensors", SSEPT_CHECKPOINT=str(small_checkpoint))
    assert "else.safetensors: no such checkpoint" in line


def test_an_error_names_what_was_given() -> None:
    assert " --provider: unknown provider" in refusal("--provider=nowhere")
    assert " SSEPT_PROVIDER: unknown provider" in refusal(SSEPT_PROVIDER="nowhere")
    assert " --variant: unknown variant" in refusal("--variant=nobody")


def test_it_takes_the_settings_that_tune_found(tmp_path: Path, small_checkpoint: Path) -> None:
    path = tmp_path / "tuned.json"
    write_settings(path, "fused_topk-cpu", Tuned(threads=2, batch=3), {})
    with running(ServerSettings(model=small_checkpoint, tuned=path), tmp_path / "log") as server:
        requests = [{"user_id": 1, "sequence": [], "top_k": 3}] * 5
        answer = ask(server.url, "/predict/batch", {"requests": requests})
        assert len(answer["predictions"]) == 5
    write_settings(path, "fused_topk-cpu", Tuned(options={"no_such_option": 1}), {})
    line = refusal(f"--model={small_checkpoint}", f"--tuned={path}")
    assert "no_such_option" in line


def test_each_request_is_logged_if_wanted(tmp_path: Path, small_checkpoint: Path) -> None:
    arguments = [f"--model={small_checkpoint}", "--access-log"]
    with subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "serve", "--port=0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        port = process.stdout.readline().partition(f"{ADDRESS}:")[2].partition(",")[0]
        ask(f"http://{ADDRESS}:{port}", "/version")
        process.terminate()
        (line,) = process.stderr.read().splitlines()
    assert line.endswith('"GET /version HTTP/1.1" 200')


@pytest.mark.slow
def test_the_matrix_measures_the_server_only_if_told(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    run = run_matrix(
        tmp_path,
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "-k=test_fastapi",
        "-rs",
        ROOT / "benchmarks" / "test_fastapi.py",
    )
    assert run.code == 0, run.output
    assert "--fastapi is not given" in run.output
    assert "passed" not in run.output


@pytest.mark.parametrize("workers", [1, 2])
def test_variables_of_other_servers_change_nothing(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    for name in ("WEB_CONCURRENCY", "PORT", "UVICORN_PORT", "UVICORN_WORKERS", "UVICORN_APP"):
        monkeypatch.setenv(name, "nonsense")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/missing")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("HOME")
    settings = ServerSettings(model=small_checkpoint)
    with running(settings, tmp_path / "log", workers=workers) as server:
        with socket.create_connection(server.address, 30) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with client.makefile("rb") as file:
                assert file.read().startswith(b"HTTP/1.1 200 ")
        assert "Traceback" not in server.log.read_text()
