"""Who reads the messages, and the cases that bring the program to print them."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssept.cli import main
from ssept.data.synthetic import prepare_synthetic
from ssept.decide.gate import plan
from ssept.decide.gate.plan import GatePlan
from ssept.files import json_text
from ssept.measure.machine import read_machine
from ssept.results.hashes import add_hashes
from tests.conftest import ITEMS, USERS
from tests.helpers import foreign_onnx, histories
from tests.helpers.matrix import ROOT, run_matrix

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

    def other_data(self) -> Path:
        """Data that the checkpoint was not trained on."""
        folder = self.folder / "other"
        prepare_synthetic(folder, users=USERS, items=ITEMS, seed=4)
        return folder

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
