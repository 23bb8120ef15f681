"""`ssept tune`: finds what is really faster, keeps the default within noise, writes a file."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from ssept.artifacts import Artifact
from ssept.decide import tune as tuning
from ssept.decide.tune import Space, Tuner, tune
from ssept.errors import ProviderError
from ssept.measure.settings import (
    Settings,
    SettingsError,
    read_settings,
    write_settings,
)
from ssept.providers.session import Ids, Scores, Session
from ssept.variants import build


class Slow(Session):
    """A session that works for a given time a call: real time passes, no figure is made up."""

    def __init__(self, artifact: Artifact, threads: int, work_s: float) -> None:
        super().__init__(artifact, threads)
        self._work_s = work_s

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        end = time.perf_counter() + self._work_s
        scores = np.zeros((len(user), self.artifact.model.items + 1), dtype=np.float32)
        scores[:, sequence[:, -1]] = 1  # answers depend on what is asked
        while time.perf_counter() < end:
            pass
        return scores

    def placement(self) -> dict[str, int]:
        return {"slow": 1}


@pytest.fixture
def artifact(small_checkpoint: Path) -> Artifact:
    return build(small_checkpoint, "onnx")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How long a call of each `mode` works; "broken" is refused."""
    times = {"default": 2e-3, "same": 2e-3, "fast": 0.5e-3}

    def load(self: Tuner, settings: Settings) -> Session:
        mode = str(settings.options.get("mode", "default"))
        if mode == "broken":
            raise ProviderError("mode: broken is not known here")
        return Slow(self.artifact, settings.threads, times[mode])

    monkeypatch.setattr(Tuner, "load", load)
    monkeypatch.setattr(tuning, "LOOK_SECONDS", 0.05)
    return times


@pytest.mark.slow
def test_a_faster_setting_is_found_and_confirmed(
    artifact: Artifact, work: dict[str, float]
) -> None:
    space = Space([1], {"mode": ["default", "same", "fast", "broken"]}, [1])
    found = tune(artifact, "cpu", Settings(), space, budget_s=20)
    assert found.choice.options == {"mode": "fast"}, found
    assert not found.kept_default
    assert found.speedup.low > 2
    assert any("broken is not known" in line for line in found.refused)


@pytest.mark.slow
def test_within_noise_the_default_stays(artifact: Artifact, work: dict[str, float]) -> None:
    work["same"] = 2.2e-3
    space = Space([1], {"mode": ["default", "same"]}, [1])
    found = tune(artifact, "cpu", Settings(), space, budget_s=4)
    assert found.kept_default
    assert found.choice == Settings()


@pytest.mark.slow
def test_throughput_counts_sequences_not_calls(artifact: Artifact, work: dict[str, float]) -> None:
    space = Space([1], {}, [1, 8])
    found = tune(artifact, "cpu", Settings(), space, budget_s=4)
    assert found.choice.batch == 8  # as long a call, eight times the sequences
    assert found.speedup.low > 6


def test_settings_are_kept_by_cell_and_bound_to_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    first, second = Settings(2, {"a": 1}, 8), Settings(1, {}, 1)
    write_settings(path, "onnx-cpu", first, {"why": "x"})
    write_settings(path, "onnx-openvino", second, {})
    assert read_settings(path) == {"onnx-cpu": first, "onnx-openvino": second}
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"cpu": "another"}))
    with pytest.raises(SettingsError, match="tuned on another, but this machine has"):
        read_settings(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a file of `ssept tune`"),
        ("{}", "not a file of `ssept tune`"),
        ('{"schema": 9}', "schema 9; this version reads 1"),
        ('{"schema": 1, "cpu": 2, "cells": {}}', "not a file of `ssept tune`"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_settings(tmp_path / "t.json")
    with pytest.raises(SettingsError, match="no such file"):
        read_settings(tmp_path / "none.json")
