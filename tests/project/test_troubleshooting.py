"""Each message of docs/troubleshooting.md is one that the program prints, as the page has it.

The page is the only place of the texts. A case here has the name of an entry's anchor, and brings
the program to print the message: by a command, with bad input or on a machine that lacks something.
"""

import json
import os
import re
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from ssept.artifacts.manifests import copy_artifacts
from ssept.cli import main
from ssept.data.dataset import load_dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.decide.gate import plan, sequential_test
from ssept.decide.gate.plan import GatePlan
from ssept.files import json_text
from ssept.measure.machine import read_machine
from ssept.measure.settings import Settings, write_settings
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.providers import PROVIDERS
from ssept.providers.onnx.file import describe
from ssept.providers.onnx.integer_products import wrong_integer_products
from ssept.results.hashes import add_hashes
from ssept.serving.load.open_loop import Requests
from ssept.serving.load.target import Target
from ssept.serving.settings import ServerSettings
from tests.conftest import ITEMS, USERS
from tests.helpers import foreign_onnx, histories
from tests.helpers.matrix import ROOT, run_content, run_matrix
from tests.helpers.repositories import git, write_engine
from tests.helpers.servers.serving import SECONDS, live

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ENTRY = re.compile(r'^<a id="([a-z0-9-]+)"></a>\*\*(`+) ?(.+?) ?\2\*\*$', flags=re.M)
FOUND = [(name, message) for name, _, message in ENTRY.findall(PAGE)]
ENTRIES = dict(FOUND)
ANY = "…"
LEAST_FIXED = 12  # characters of a message that are no placeholder: fewer could be any message
RUNS = sorted((ROOT / "tests/data/runs").glob("*.json"))
# Which a gate decides by within seconds.
QUICK = GatePlan(alpha=0.1, looks=1, seconds=1, stretch_seconds=0.02, confirmation=1)
NOBODY = "127.0.0.1:1"  # an address where no server listens


@dataclass
class User:
    """Who runs commands in a folder, and reads what they say."""

    folder: Path
    data: Path
    checkpoint: Path
    patch: pytest.MonkeyPatch
    said: list[str] = field(default_factory=list)

    def ssept(self, *words: str | Path) -> None:
        with suppress(SystemExit):  # by argparse
            main([*map(str, words)])

    def matrix(self, *words: str | Path, lean: bool = True) -> None:
        self.said.append(run_matrix(self.folder / "results", *words, lean=lean).output)

    def evaluate(self, checkpoint: Path) -> None:
        self.ssept("evaluate", checkpoint, f"--data-dir={self.data}")

    def prepare(self, name: str, text: str, *words: str) -> None:
        """Prepare a file of ratings."""
        source = self.folder / "raw"
        source.mkdir()
        (source / name).write_text(text)
        self.ssept("data", "prepare", source, self.folder / "out", *words)

    def serve(self, model: Path, *words: str | Path) -> None:
        """Start a server that ends at once, if it starts."""
        server = "ssept.serving.runtime.uvicorn_server"
        self.patch.setattr(f"{server}.configure_logging", lambda _: None)  # pytest has the log
        self.patch.setattr(f"{server}.UvicornServer.run", lambda *_: None)
        self.ssept("serve", "--port=0", f"--model={model}", *words)

    def gate_onnx(self, *words: str | Path) -> None:
        """Gate an ONNX file against itself."""
        self.patch.setattr(plan, "GatePlan", lambda **_: QUICK)
        model, report = self.onnx(), self.folder / "gate.md"  # without line breaks in cells
        options = ["--providers=cpu", "--batch-sizes=1", f"--markdown={report}"]
        self.ssept("gate", model, model, *options, *words)
        if report.exists():
            self.said.append(report.read_text())

    def promise(self, *words: str) -> None:
        options = [f"--data-dir={self.data}", "--p99-ms=10", *words]
        self.ssept("promise", f"http://{NOBODY}", *options)

    def doctor(self) -> None:
        self.ssept("doctor", "--seconds=0.01")

    def on_machine(self, **facts: Any) -> None:
        """Let the machine have other facts than this one."""
        machine = replace(read_machine(), **facts)
        self.patch.setattr("ssept.measure.doctor.read_machine", lambda: machine)

    def with_noise(self, slow: float) -> None:
        """Let a tenth of equal work take `slow` times as long as the rest."""
        times = np.where(np.arange(1000) % 10, 1e6, slow * 1e6)
        self.patch.setattr("ssept.measure.quiet.timed_calls", lambda _: times)

    def without(self, package: str, *importers: str) -> None:
        """Let a package be absent, also for modules that have imported it already."""
        for name in importers:
            parent, _, own = name.rpartition(".")
            self.patch.delitem(sys.modules, name, raising=False)
            if parent in sys.modules:
                self.patch.delattr(sys.modules[parent], own, raising=False)
        for name in (package, *(name for name in sys.modules if name.startswith(f"{package}."))):
            self.patch.setitem(sys.modules, name, None)

    def onnx(self, **form: Any) -> Path:
        return foreign_onnx.write(self.folder / "model.onnx", **form)

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(self, name: str, **changes: Any) -> Path:
        """A copy of a saved run, whose part `machine_info.ssept` has these changes."""
        content = json.loads(RUNS[0].read_text())
        content["machine_info"]["ssept"] |= changes
        return self.file(name, json_text(content))

    def hashed_run(self) -> Path:
        content = histories.content(0, histories.CELLS)
        add_hashes(content)
        return self.file("0001_run.json", json_text(content))

    def history(self, commits: int, **changes: Any) -> None:
        """Save a run of each of some commits, and look for changes."""
        runs = self.folder / "history"
        runs.mkdir()
        for number in range(commits):
            content = histories.content(number, histories.CELLS)
            content["commit_info"] |= changes
            (runs / f"{number + 1:04}_run.json").write_text(json_text(content))
        self.ssept("history", runs)

    def fleet(self, *words: str) -> None:
        hosts, out = self.file("hosts.toml", "[c7i]\n"), self.folder / "out"
        self.ssept("fleet", "run", hosts, f"--out={out}", *words)

    def triton(self, *words: str) -> None:
        """Start Triton's server on a repository with a model's folder."""
        (self.folder / "repository/model").mkdir(parents=True)
        self.ssept("triton", "serve", self.folder / "repository", *words)


Case = Callable[[User], None]
CASES: dict[str, Case] = {}


def case(provoke: Case) -> Case:
    """The case of the entry of this name."""
    CASES[provoke.__name__.replace("_", "-")] = provoke
    return provoke


@pytest.fixture
def user(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[User]:
    before = dict(os.environ)
    yield User(tmp_path, small_folder, small_checkpoint, monkeypatch)
    os.environ.clear()  # `ssept serve` sets variables for its workers
    os.environ.update(before)


def pattern(message: str) -> str:
    """What a message looks like, on one line, with whatever stands for its placeholders."""
    return ".*?".join(re.escape(part) for part in message.split(ANY))


def test_each_entry_has_a_case_and_each_case_an_entry() -> None:
    assert [name for name, _ in FOUND] == [*ENTRIES]
    assert PAGE.count("<a id=") == len(FOUND), "an entry is not of the form that this test reads"
    assert ENTRIES.keys() == CASES.keys()


@pytest.mark.parametrize("name", ENTRIES)
def test_a_message_is_more_than_placeholders(name: str) -> None:
    assert len(ENTRIES[name].replace(ANY, "").replace(" ", "")) >= LEAST_FIXED


@pytest.mark.parametrize("name", CASES)
def test_the_program_prints_it(
    name: str, user: User, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    CASES[name](user)
    captured = capsys.readouterr()
    said = " ".join(" ".join([captured.out, captured.err, caplog.text, *user.said]).split())
    message = ENTRIES[name]
    assert re.search(pattern(message), said), f"{message}\nis not in\n{said}"


# Installation


@case
def two_onnxruntimes(user: User) -> None:
    user.patch.setattr(
        "ssept.providers.onnxruntime.distribution", lambda _: SimpleNamespace(version="9.9")
    )
    user.ssept("report", "run.json")


@case
def wrong_int8(user: User) -> None:
    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def run(self, _: object, inputs: dict[str, Any]) -> list[Any]:
            return [0 * (inputs["a"].astype(np.int32) @ inputs["b"].astype(np.int32))]

    user.patch.setattr(onnxruntime, "InferenceSession", Session)
    wrong_integer_products.cache_clear()
    try:
        user.doctor()
    finally:
        wrong_integer_products.cache_clear()


@case
def no_train_extra(user: User) -> None:
    user.without("torch", "ssept.model.network", "ssept.model.recipe")
    user.ssept("train")


@case
def no_checkpoint_reader(user: User) -> None:
    user.without("safetensors")
    user.ssept("evaluate", user.checkpoint)


@case
def no_serve_extra(user: User) -> None:
    room = "ssept.serving.runtime"
    user.without("uvicorn", f"{room}.supervisor", f"{room}.uvicorn_server")
    user.ssept("serve")


@case
def no_tune_extra(user: User) -> None:
    user.without("optuna", "ssept.decide.tune")
    user.ssept("tune")


@case
def no_history_extra(user: User) -> None:
    user.without("ruptures")
    user.history(20)


@case
def no_report_extra(user: User) -> None:
    user.without("vl_convert", "ssept.report.page.html")
    user.ssept("report", RUNS[0], "-o", user.folder / "report.html")


@case
def no_fleet_extra(user: User) -> None:
    user.without("ray")
    user.fleet()


@case
def no_clone(user: User) -> None:
    user.patch.setattr("ssept.cli.fleet.is_clone", lambda: False)
    user.fleet()


@case
def no_cache_folder(user: User) -> None:
    user.patch.setenv("SSEPT_CACHE_DIR", "~/cache")
    user.ssept("tune")


# Data


@case
def no_known_data(user: User) -> None:
    user.prepare("notes.md", "# Nothing\n")


@case
def no_such_column(user: User) -> None:
    user.prepare("ratings.csv", "userId,itemId,rating,timestamp\n1,2,3,4\n")


@case
def wrong_fields(user: User) -> None:
    user.prepare("u.data", "1\t2\t3\t4\n1\t2\t3\n")


@case
def wrong_id(user: User) -> None:
    user.prepare("ratings.csv", "userId,movieId,rating,timestamp\nu1,2,3,4\n")


@case
def no_ratings_left(user: User) -> None:
    user.prepare("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n", "--min-user=5")


@case
def would_be_lost(user: User) -> None:
    (user.folder / "out").mkdir()
    user.file("out/notes.md", "")
    user.prepare("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n")


@case
def data_changed(user: User) -> None:
    copy = user.folder / "data"
    shutil.copytree(user.data, copy)
    with (copy / "test.csv").open("a") as file:
        file.write("\n")
    user.ssept("evaluate", user.checkpoint, f"--data-dir={copy}")


@case
def no_download(user: User) -> None:
    user.ssept("data", "download", "ml-100k", user.folder / "out", f"--url=http://{NOBODY}")


# Checkpoints and model files


def network(users: int = USERS, items: int = ITEMS) -> SSEPT:
    torch.manual_seed(0)
    return SSEPT(SSEPTConfig(users, items, item_dim=8, user_dim=8, heads=1)).eval()


def state_dict(user: User, model: SSEPT, *, without: str = "") -> Path:
    weights = {name: each for name, each in model.state_dict().items() if name != without}
    torch.save({"state_dict": weights, "heads": 1}, user.folder / "model.pt")
    return user.folder / "model.pt"


@case
def no_such_checkpoint(user: User) -> None:
    user.evaluate(user.folder / "model.safetensors")


@case
def lfs_pointer(user: User) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
    user.evaluate(user.file("model.safetensors", text))


@case
def cut_checkpoint(user: User) -> None:
    user.evaluate(user.file("model.safetensors", user.checkpoint.read_bytes()[:-1]))


@case
def foreign_safetensors(user: User) -> None:
    save_file({"weight": torch.ones(2)}, user.folder / "model.safetensors")
    user.evaluate(user.folder / "model.safetensors")


@case
def pickled_module(user: User) -> None:
    torch.save(network(), user.folder / "model.pt")
    user.evaluate(user.folder / "model.pt")


@case
def no_heads(user: User) -> None:
    torch.save(network().state_dict(), user.folder / "model.pt")
    user.evaluate(user.folder / "model.pt")


@case
def other_keys(user: User) -> None:
    dataset = load_dataset(user.data)
    model = network(dataset.users, dataset.items)
    user.evaluate(state_dict(user, model, without=[*model.state_dict()][-1]))


@case
def other_sizes(user: User) -> None:
    user.evaluate(state_dict(user, network(7, 9)))


@case
def unnamed_data(user: User) -> None:
    user.ssept("evaluate", user.checkpoint)


def other_data(user: User) -> Path:
    folder = user.folder / "other"
    prepare_synthetic(folder, users=USERS, items=ITEMS, seed=4)
    return folder


@case
def other_data_trained(user: User) -> None:
    user.ssept("evaluate", user.checkpoint, f"--data-dir={other_data(user)}")


@case
def no_checkpoint_of_data(user: User) -> None:
    user.patch.setenv("SSEPT_CACHE_DIR", str(user.folder / "cache"))
    user.ssept("choose", f"--data-dir={other_data(user)}")


@case
def changed_model_file(user: User) -> None:
    folder = user.folder / "models"
    (artifact,) = copy_artifacts([describe(user.onnx())], folder)
    with artifact.path.open("ab") as file:
        file.write(b"\0")
    user.ssept("gate", folder, folder)


@case
def unclear_inputs(user: User) -> None:
    user.serve(user.onnx(user="a", sequence="b", more_inputs=["c"]))


@case
def any_length(user: User) -> None:
    user.serve(user.onnx(places=None))


# Providers


@case
def no_provider(user: User) -> None:
    user.patch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    user.doctor()


@case
def no_compiler(user: User) -> None:
    user.patch.setenv("CXX", "no-such-compiler")
    user.doctor()


@case
def no_driver(user: User) -> None:
    def load(name: str) -> None:
        raise OSError(name)

    user.patch.setattr("ssept.providers.nvidia.ctypes", SimpleNamespace(CDLL=load))
    user.patch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    user.doctor()


@case
def required_provider(user: User) -> None:
    data = [f"--data-dir={user.data}", f"--checkpoint={user.checkpoint}"]
    user.matrix(*data, "--providers=cuda", "--require=cuda")


@case
def other_providers(user: User) -> None:
    user.serve(user.checkpoint, "--provider=torch", "--variant=fused_topk")


def need_openvino() -> None:
    if why := PROVIDERS["openvino"].unavailable():
        pytest.skip(why)


@case
def falls_back(user: User) -> None:
    """An operator that OpenVINO does not know, in front of the scores."""
    need_openvino()
    path = user.onnx(scores="raw", outputs=("raw",))
    model = onnx.load(path)
    model.graph.node.append(
        onnx.helper.make_node(
            "Scaler", ["raw"], ["scores"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]
        )
    )
    model.graph.output[0].name = "scores"
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    user.serve(path, "--provider=openvino")


@case
def does_not_start(user: User) -> None:
    need_openvino()
    tuned = user.folder / "tuned.json"
    write_settings(tuned, "custom-openvino", Settings(options={"device_type": "GPU"}), {})
    user.serve(user.onnx(), "--provider=openvino", f"--tuned={tuned}")


# A measurement, and noise


@case
def in_parallel(user: User) -> None:
    user.matrix("-n2", lean=False)


@case
def noisy(user: User) -> None:
    user.with_noise(2.0)
    user.doctor()


@case
def usable(user: User) -> None:
    user.with_noise(1.1)
    user.doctor()


@case
def busy(user: User) -> None:
    seen = iter([{(1, "compiler"): 0.0}, {(1, "compiler"): 1000.0}])
    user.patch.setattr("ssept.measure.quiet._processes", lambda: next(seen))
    user.with_noise(2.0)
    user.doctor()


@case
def governor(user: User) -> None:
    user.on_machine(governor="powersave")
    user.doctor()


@case
def quota(user: User) -> None:
    user.on_machine(cgroup_cpu_quota=1.5, cpus_allowed=8)
    user.doctor()


@case
def tuned_elsewhere(user: User) -> None:
    tuned = user.file("tuned.json", json.dumps({"schema": 1, "cpu": "another", "cells": {}}))
    user.serve(user.onnx(), f"--tuned={tuned}")


# The gate


@case
def no_revision(user: User) -> None:
    git("init", "--quiet", folder=user.folder)
    user.patch.chdir(user.folder)
    user.ssept("gate", "main", "feature")


@case
def other_python(user: User) -> None:
    tree = write_engine(user.folder / "old", "old", items=1, work=1)
    project = tree / "pyproject.toml"
    project.write_text(project.read_text().replace(">=3.10", ">=3.99"))
    user.ssept("gate", tree, tree)


@case
def no_cells(user: User) -> None:
    user.gate_onnx("-k", "openvino")


@case
def unknown_budget(user: User) -> None:
    budgets = user.file("budgets.toml", '["custom-cpu*"]\nspeed = "3%"\n')
    user.gate_onnx("--no-accuracy", f"--budgets={budgets}")


@case
def wrong_budget(user: User) -> None:
    budgets = user.file("budgets.toml", '["custom-cpu*"]\nlatency = 3\n')
    user.gate_onnx("--no-accuracy", f"--budgets={budgets}")


@case
def gate_of_other_data(user: User) -> None:
    user.gate_onnx(f"--data-dir={user.data}")


@case
def inconclusive(user: User) -> None:
    """A machine on which each pass is a tenth faster or slower than the one before."""
    judge = sequential_test.Trials.after_pass
    noise = iter([0.1, -0.1] * 100)

    def noisy(self: Any, log_ratios: dict[str, float], last: bool) -> None:
        judge(self, {name: next(noise) for name in log_ratios}, last)

    user.patch.setattr(sequential_test.Trials, "after_pass", noisy)
    user.gate_onnx("--no-accuracy")


# Saved runs


@case
def no_results_file(user: User) -> None:
    user.ssept("report", user.folder / "0001_run.json")


@case
def no_saved_runs(user: User) -> None:
    user.ssept("report", user.folder)


@case
def no_results(user: User) -> None:
    user.ssept("report", user.file("0001_run.json", json_text(run_content())))


@case
def other_schema(user: User) -> None:
    content = run_content()
    content["ssept"]["schema"] = 99
    user.ssept("report", user.file("0001_run.json", json_text(content)))


@case
def changed_run(user: User) -> None:
    path = user.hashed_run()
    path.write_text(path.read_text().replace("CPU A", "CPU B"))
    user.ssept("verify", path)


@case
def no_hashes(user: User) -> None:
    user.ssept("verify", RUNS[0])


@case
def other_machine(user: User) -> None:
    user.ssept("compare", "--absolute", RUNS[0], user.run("other.json", cpu="another"))


@case
def other_baseline(user: User) -> None:
    content = RUNS[0].read_text()
    (digest,) = {
        each["extra_info"]["checkpoint_sha256"] for each in json.loads(content)["benchmarks"]
    }
    other = user.file("other.json", content.replace(digest, "0" * 64))
    user.ssept("compare", RUNS[0], other)


@case
def baseline_may_differ(user: User) -> None:
    user.ssept("compare", RUNS[0], user.run("other.json", packages={"numpy": "0"}))


@case
def not_resumed(user: User) -> None:
    user.matrix(f"--resume={user.hashed_run()}")


@case
def no_report(user: User) -> None:
    user.ssept("report", RUNS[0], "-o", user.file("report.md", "# Mine\n"))


# The history of a branch, and other tools


@case
def no_commits(user: User) -> None:
    user.history(3, dirty=True)


@case
def too_few_commits(user: User) -> None:
    user.history(3)


@case
def no_notes(user: User) -> None:
    git("init", "--quiet", folder=user.folder)
    user.patch.chdir(user.folder)
    user.ssept("history", "--notes=ssept")


@case
def no_uri(user: User) -> None:
    user.patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    user.ssept("export", "mlflow", RUNS[0])


@case
def no_mlflow(user: User) -> None:
    user.patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    user.ssept("export", "mlflow", RUNS[0], f"--uri=http://{NOBODY}")


# Servers


@case
def port_in_use(user: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        user.ssept("serve", f"--port={other.getsockname()[1]}", f"--model={user.onnx()}")


@case
def served_with_other_data(user: User) -> None:
    own = ["--variant=torch", "--provider=torch"]
    user.serve(user.checkpoint, *own, f"--data-dir={other_data(user)}")


@case
def no_id_map(user: User) -> None:
    user.serve(user.onnx())


@case
def worker_ended(user: User) -> None:
    supervisor = "ssept.serving.runtime.supervisor"
    user.patch.setattr(f"{supervisor}.configure_logging", lambda _: None)
    user.patch.setattr(f"{supervisor}.command", lambda *_: [sys.executable, "-c", "exit(3)"])
    user.serve(user.onnx(), "--workers=2")


@case
def foreign_host(user: User) -> None:
    with live(ServerSettings(model=user.onnx())) as server:
        address = f"http://127.0.0.1:{server.port}/healthz"
        request = urllib.request.Request(address, headers={"Host": "shop.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=SECONDS)
        user.said.append(refused.value.read().decode())


# Triton


@case
def no_triton_extra(user: User) -> None:
    user.without("tritonclient")
    user.ssept("triton", "repository", user.folder / "out", f"--onnx={user.onnx()}")


@case
def no_model_folder(user: User) -> None:
    user.ssept("triton", "serve", user.folder)


@case
def triton_port(user: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        user.triton(f"--ports={other.getsockname()[1]},8001,8002")


@case
def no_docker(user: User) -> None:
    user.patch.setenv("PATH", str(user.folder))
    user.triton("--ports=free", "--docker")


@case
def triton_python(user: User) -> None:
    user.patch.setattr("ssept.serving.triton.environment.PYTHONS", ((3, 98), (3, 99)))
    user.triton("--ports=free")


@case
def no_environment(user: User) -> None:
    here = sys.version_info[:2]
    user.patch.setattr("ssept.serving.triton.environment.PYTHONS", (here, here))
    user.patch.setenv("SSEPT_CACHE_DIR", str(user.folder / "cache"))
    failed = SimpleNamespace(returncode=1, stderr="no matching distribution", stdout="")
    user.patch.setattr("ssept.environments.finished", lambda *_, **__: failed)
    user.triton("--ports=free")


# Load and capacity


@case
def no_answer(user: User) -> None:
    user.promise("--rate=100")


@case
def client_late(user: User) -> None:
    """A client that gets its turn 50 ms late."""

    def sender(*_: object) -> Callable[[float, int], Requests]:
        def send(seconds: float, seed: int) -> Requests:
            count = round(100 * seconds)
            return Requests(
                due=np.linspace(0, seconds, count),
                late_ms=np.full(count, 50.0),
                latency_ms=np.full(count, 51.0),
                good=np.ones(count, bool),
                errors={},
                waited=0,
                seconds=seconds,
                client_cpu=0.1,
            )

        return send

    user.patch.setattr(Target, "check", lambda *_: None)
    user.patch.setattr(Target, "sender", sender)
    user.promise("--rate=100")


@case
def too_short(user: User) -> None:
    user.promise("--rate=100", "--seconds=1")


@case
def no_largest_rate(user: User) -> None:
    user.ssept("capacity", RUNS[0], "--p99-ms=10", "--peak-rate=100")


# Fleets


@case
def no_cluster(user: User) -> None:
    user.fleet(f"--address={NOBODY}")


@case
def ray_start(user: User) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    user.patch.setattr("ray.init", late)
    user.fleet("--address=local")


@case
def no_node(user: User) -> None:
    """A cluster without the nodes that are asked for."""

    class Ray:
        exceptions = SimpleNamespace(RayError=RuntimeError)

        def remote(self, task: object) -> Any:
            return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_, **__: 0))

        def wait(self, running: list[object], **_: object) -> tuple[list[object], list[object]]:
            return [], running

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 2.0}

        def cancel(self, *_: object, **__: object) -> None:
            pass

    @contextmanager
    def connected(*_: object) -> Iterator[Ray]:
        yield Ray()

    user.patch.setattr("ssept.decide.fleet.run.connected", connected)
    user.fleet("--patience=0.1")


# Any command


@case
def unexpected(user: User) -> None:
    def fail() -> None:
        raise RuntimeError("something")

    user.patch.setattr("ssept.cli.commands.check_one_onnxruntime", fail)
    user.ssept("report", RUNS[0])
