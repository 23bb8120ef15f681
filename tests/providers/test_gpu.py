"""Sampling a GPU during a cell, against a made-up driver."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssept.measure.gpu import gpu_sampler
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.matrix import run_matrix


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_it_samples_while_the_block_runs(nvml: FakeNvml) -> None:
    nvml.busy_percent = 40
    with gpu_sampler(interval_s=0.001) as sampler:
        assert sampler is not None
        wait_until(lambda: sampler.use().samples >= 3)
        use = sampler.use()
    assert use.name == "GPU X"
    assert use.utilisation_percent == 40
    assert use.peak_memory_bytes == 3 << 20
    assert use.power_w == use.peak_power_w == pytest.approx(120.5)
    assert nvml.open == 0
    assert "gpu-sampler" not in {thread.name for thread in threading.enumerate()}


def test_samples_before_a_restart_do_not_count(nvml: FakeNvml) -> None:
    nvml.busy_percent = 100
    with gpu_sampler(interval_s=0.001) as sampler:
        assert sampler is not None
        wait_until(lambda: sampler.use().samples >= 2)
        nvml.busy_percent = 0
        wait_until(lambda: sampler.restart() or sampler.use().utilisation_percent == 0)
        sampler.restart()
        wait_until(lambda: sampler.use().samples >= 2)
        assert sampler.use().utilisation_percent == 0


def test_a_cell_shorter_than_the_interval_has_one_sample(nvml: FakeNvml) -> None:
    with gpu_sampler(interval_s=3600) as sampler:
        assert sampler is not None
        assert sampler.use().samples == 1


def test_what_the_gpu_does_not_tell_is_none(nvml: FakeNvml) -> None:
    nvml.power = False
    with gpu_sampler() as sampler:
        assert sampler is not None
        use = sampler.use()
    assert use.power_w is use.peak_power_w is None
    assert use.utilisation_percent == 0


def test_without_a_driver_there_is_none(nvml: FakeNvml) -> None:
    nvml.driver = False
    with gpu_sampler() as sampler:
        assert sampler is None
    assert nvml.open == 0


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with gpu_sampler() as sampler:
        assert sampler is None


def test_a_gpu_that_is_not_there_is_none(nvml: FakeNvml) -> None:
    with gpu_sampler(7) as sampler:
        assert sampler is None
    assert nvml.open == 0


def test_the_driver_is_closed_after_an_error(nvml: FakeNvml) -> None:
    with pytest.raises(ValueError, match="in the block"), gpu_sampler():
        raise ValueError("in the block")
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "device_id", "asked_for"),
    [
        (None, 1, 1),
        ("", 1, 1),
        ("2,3", 1, 3),
        ("2, 3", 1, 3),
        ("GPU-ab,GPU-cd", 1, "GPU-cd"),
        ("2", 1, 1),  # no such device: the provider says so
    ],
)
def test_devices_are_counted_as_cuda_does(
    nvml: FakeNvml,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    device_id: int,
    asked_for: int | str,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpu_sampler(device_id):
        pass
    assert nvml.asked_for == [asked_for]


@pytest.mark.slow
def test_only_cells_on_a_gpu_say_what_it_did(
    small_folder: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    run = run_matrix(
        tmp_path,
        "-p",
        "tests.helpers.toys.toy_providers",
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "--variants=onnx",
        "--providers=toy,toy_gpu",
        "--rounds=45",
        "-k=edge",
    )
    assert run.code == 0, run.output
    cells = run.cells("edge")
    assert "gpu" not in cells["test_edge[onnx-toy]"]
    gpu = cells["test_edge[onnx-toy_gpu]"]["gpu"]
    assert (gpu["name"], gpu["power_w"]) == ("GPU X", pytest.approx(120.5))
    assert gpu["samples"] >= 1
