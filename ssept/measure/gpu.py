"""Utilisation, memory and power of an NVIDIA GPU while a cell runs, from its driver."""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

INTERVAL_S = 0.1
WATTS_PER_MILLIWATT = JOULES_PER_MILLIJOULE = 1e-3
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """A summary of samples; None for values that the GPU does not report.

    Attributes:
        name: the GPU's model.
        samples: how many there are.
        utilisation_percent: mean share of time in which a kernel ran, of all processes.
        peak_memory_bytes: the most memory in use, by all processes.
        power_w, peak_power_w: mean and largest power of the whole board.
    """

    name: str
    samples: int
    utilisation_percent: float | None
    peak_memory_bytes: float | None
    power_w: float | None
    peak_power_w: float | None


class GpuSampler:
    """Samples one GPU in a thread of its own until it is stopped."""

    def __init__(self, nvml: Any, handle: Any, interval_s: float) -> None:
        self._nvml = nvml
        self._handle = handle
        self._interval_s = interval_s
        self._samples: list[tuple[float, float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="gpu-sampler", daemon=True)
        self._thread.start()

    def restart(self) -> None:
        """Forget the samples so far: what comes now is what is measured."""
        self._samples = []

    def use(self) -> GpuUse:
        """Summarize the samples since the last restart, at least one."""
        samples = self._samples or [self._read()]
        utilisation, memory, power = np.array(samples).T
        name = self._nvml.nvmlDeviceGetName(self._handle)
        return GpuUse(
            name=name,
            samples=len(samples),
            utilisation_percent=_known(utilisation.mean()),
            peak_memory_bytes=_known(memory.max()),
            power_w=_known(power.mean()),
            peak_power_w=_known(power.max()),
        )

    def joules(self) -> float:
        """Return the board's energy since the driver was loaded; NaN where it is not counted."""
        read = getattr(self._nvml, "nvmlDeviceGetTotalEnergyConsumption", None)
        if read is None:
            return math.nan
        return self._number(lambda: read(self._handle) * JOULES_PER_MILLIJOULE)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._samples.append(self._read())

    def _read(self) -> tuple[float, float, float]:
        nvml, handle = self._nvml, self._handle
        return (
            self._number(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            self._number(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
            self._number(lambda: nvml.nvmlDeviceGetPowerUsage(handle) * WATTS_PER_MILLIWATT),
        )

    def _number(self, read: Any) -> float:
        """Read a number; NaN where this GPU does not give it, as a slice of one (MIG)."""
        try:
            return float(read())
        except self._nvml.NVMLError:
            return float("nan")


@contextlib.contextmanager
def gpu_sampler(device_id: int = 0, interval_s: float = INTERVAL_S) -> Iterator[GpuSampler | None]:
    """Sample a GPU inside the block; yields None where there is no NVIDIA driver.

    Args:
        device_id: which of those that CUDA_VISIBLE_DEVICES leaves, as CUDA counts them. Where it
            is unset, NVML's order by PCI bus counts, which CUDA_DEVICE_ORDER may make differ.
        interval_s: between two samples. A sample takes the driver about a millisecond.
    """
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    sampler = None
    try:
        with contextlib.suppress(pynvml.NVMLError):  # no such GPU: the provider says so itself
            sampler = GpuSampler(pynvml, _handle(pynvml, device_id), interval_s)
        yield sampler
    finally:
        if sampler:
            sampler.stop()
        pynvml.nvmlShutdown()


def _handle(nvml: Any, device_id: int) -> Any:
    visible = [name.strip() for name in os.environ.get(VISIBLE_DEVICES, "").split(",") if name]
    name = visible[device_id] if device_id < len(visible) else str(device_id)
    if name.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
