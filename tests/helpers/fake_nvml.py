"""What this project calls of pynvml, with a driver of one made-up GPU behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As pynvml's own."""


@dataclass
class FakeNvml:
    """Stands in for the module.

    Attributes:
        driver: whether there is one.
        power: whether the GPU tells its power.
        energy_mj: what its board has used; half a joule more with each reading.
        busy_percent: what the next samples of the utilisation say.
        asked_for: the GPUs whose handles were taken, by index or UUID.
        open: how many times it was opened and not closed.
    """

    driver: bool = True
    power: bool = True
    busy_percent: int = 0
    energy_mj: int = 0
    asked_for: list[int | str] = field(default_factory=list)
    open: int = 0
    NVMLError: type[Exception] = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise NVMLError("no driver")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers = {
            "nvmlDeviceGetHandleByIndex": self._handle,
            "nvmlDeviceGetHandleByUUID": self._handle,
            "nvmlDeviceGetName": lambda handle: "GPU X",
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=self.busy_percent),
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3 << 20),
            "nvmlDeviceGetPowerUsage": self._power_mw,
            "nvmlDeviceGetTotalEnergyConsumption": self._energy_mj,
        }
        if name not in answers:
            raise AttributeError(name)
        return answers[name]

    def _handle(self, name: int | str) -> str:
        self.asked_for.append(name)
        if name == 7:
            raise NVMLError("no such GPU")
        return "handle"

    def _energy_mj(self, handle: str) -> int:
        if not self.power:
            raise NVMLError("not supported")
        self.energy_mj += 500
        return self.energy_mj

    def _power_mw(self, handle: str) -> int:
        if not self.power:
            raise NVMLError("not supported")
        return 120_500
