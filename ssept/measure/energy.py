"""Energy that the machine itself counts: of CPU packages, a Jetson's board or an NVIDIA GPU.

Nothing is estimated: where there is no counter, or it may not be read, there is no figure.
"""

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ssept.measure.gpu import GpuSampler
from ssept.measure.machine import read_text

POWERCAP = Path("/sys/class/powercap")
HWMON = Path("/sys/class/hwmon")
# Not intel-rapl-mmio, which shows the same counters again.
ZONES = "intel-rapl:[0-9]*"
PACKAGE = re.compile(r"package-\d+")
DIE = re.compile(r"package-\d+-die-\d+")
BOARD_RAIL = "VDD_IN"  # of a Jetson, which feeds all of it
INTERVAL_S = 0.05  # between two readings
JOULES_PER_MICROJOULE = 1e-6
WATTS_PER_MICROWATT = 1e-6  # millivolts times milliamperes


class Source(Protocol):
    """Something that counts energy or measures power."""

    name: str

    def joules(self, passed_s: float) -> float:
        """Return the energy since the last reading, `passed_s` seconds ago."""


class Packages:
    """The counters of an Intel or AMD CPU's packages: cores and caches, not the memory."""

    name = "CPU packages (RAPL)"

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._last = self._read()

    def joules(self, passed_s: float) -> float:
        """Return the energy since the last reading; a counter starts again after its range."""
        del passed_s
        now, last = self._read(), self._last
        self._last = now
        passed = 0
        for folder, before, after in zip(self._folders, last, now, strict=True):
            passed += after - before
            if after < before:
                passed += int((folder / "max_energy_range_uj").read_text())
        return passed * JOULES_PER_MICROJOULE

    def _read(self) -> list[int]:
        return [int((folder / "energy_uj").read_text()) for folder in self._folders]


class Board:
    """The power monitor of a Jetson's board: the rail that feeds all of it."""

    name = "board (INA3221)"

    def __init__(self, voltage: Path, current: Path) -> None:
        self._files = voltage, current
        self._last = self._watts()

    def joules(self, passed_s: float) -> float:
        """Return the mean power of two readings times the time between them."""
        now, last = self._watts(), self._last
        self._last = now
        return (now + last) / 2 * passed_s

    def _watts(self) -> float:
        millivolts, milliamperes = (int(file.read_text()) for file in self._files)
        return millivolts * milliamperes * WATTS_PER_MICROWATT


class GpuBoard:
    """The counter of an NVIDIA GPU's board, of all processes."""

    name = "GPU board (NVML)"

    def __init__(self, gpu: GpuSampler) -> None:
        self._gpu, self._last = gpu, gpu.joules()

    def joules(self, passed_s: float) -> float:
        """Return the energy since the last reading."""
        del passed_s
        now, last = self._gpu.joules(), self._last
        self._last = now
        return now - last


class Meter:
    """Adds up a source's energy in a thread of its own, until it is stopped.

    A counter's range is minutes of full load, and a power changes: both are read often.

    Attributes:
        source: what is counted.
    """

    def __init__(self, source: Source) -> None:
        self.source = source.name
        self._of = source
        self._joules, self._last_s = 0.0, time.perf_counter()
        self._failed: OSError | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="energy", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """Return the energy since the start.

        Raises:
            OSError: the counter could not be read, now or before.
        """
        with self._lock:
            if self._failed:
                raise self._failed
            now_s = time.perf_counter()
            self._joules += self._of.joules(now_s - self._last_s)
            self._last_s = now_s
            return self._joules

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            try:
                self.joules()
            except OSError as error:  # for whoever reads the meter
                self._failed = error
                return


@contextlib.contextmanager
def energy_meter(
    gpu: GpuSampler | None = None, *, powercap: Path = POWERCAP, hwmon: Path = HWMON
) -> Iterator[Meter | str]:
    """Count energy inside the block; yields why not, where no counter can be read.

    Args:
        gpu: count that of this GPU's board instead.
        powercap, hwmon: where Linux shows counters and monitors.
    """
    source = _of_gpu(gpu) if gpu else _source(powercap, hwmon)
    if isinstance(source, str):
        yield source
        return
    meter = Meter(source)
    try:
        yield meter
    finally:
        meter.stop()


def _of_gpu(gpu: GpuSampler) -> Source | str:
    return "this GPU counts no energy" if math.isnan(gpu.joules()) else GpuBoard(gpu)


def _source(powercap: Path, hwmon: Path) -> Source | str:
    if rail := _board_rail(hwmon):
        return Board(*rail)
    zones = {zone: read_text(zone / "name") or "" for zone in sorted(powercap.glob(ZONES))}
    packages = [zone for zone, name in zones.items() if PACKAGE.fullmatch(name)]
    if any(DIE.fullmatch(name) for name in zones.values()):
        return "this CPU counts energy by die, and some such CPUs show one counter twice: not read"
    if not packages:
        return "the machine counts no energy: neither RAPL in /sys/class/powercap nor a board's"
    try:
        return Packages(packages)
    except PermissionError as error:
        return f"{error.filename}: only root may read it: run sudo chmod a+r on it"
    except (OSError, ValueError) as error:
        return f"the CPU's energy counters cannot be read: {error}"


def _board_rail(hwmon: Path) -> tuple[Path, Path] | None:
    for label in sorted(hwmon.glob("*/in*_label")):
        if read_text(label) == BOARD_RAIL:
            number = label.name.removeprefix("in").removesuffix("_label")
            voltage, current = (label.parent / f"{kind}{number}_input" for kind in ("in", "curr"))
            if voltage.exists() and current.exists():
                return voltage, current
    return None
