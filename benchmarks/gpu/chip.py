"""What the device can do at most, measured: bytes copied and operations a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

COPIED_BYTES = 1 << 30
SIDE = 8192  # of the square matrices
SMALL = 64  # by which both are smaller without a GPU
CALLS = 10


@dataclass(frozen=True, kw_only=True)
class Chip:
    """The device's limits.

    Attributes:
        name: as the driver gives it.
        bytes_per_s: read and written by a copy in its memory.
        operations_per_s: additions and multiplications of matrix products, by precision: "fp32",
            "tf32" and "bf16".
    """

    name: str
    bytes_per_s: float
    operations_per_s: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """Return what a saved run says of it, in GB/s and TFLOP/s."""
        rates = {f"gpu_{name}_tflops": each / 1e12 for name, each in self.operations_per_s.items()}
        return {
            "gpu": self.name,
            "gpu_copy_gb_per_s": round(self.bytes_per_s / 1e9, 1),
            **{name: round(rate, 2) for name, rate in rates.items()},
        }

    def least_s(self, precision: str, operations: float, moved: float) -> float:
        """Return the seconds that no call can be below: for its products or for its bytes."""
        return max(operations / self.operations_per_s[precision], moved / self.bytes_per_s)


def measure_chip(device: str) -> Chip:
    """Measure a device's limits, the best of some calls each."""
    on_gpu = device != "cpu"
    name = torch.cuda.get_device_name(device) if on_gpu else "no GPU"
    size = COPIED_BYTES if on_gpu else COPIED_BYTES // SMALL
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * size / _best_s(partial(target.copy_, source), device)
    del source, target
    rates = {}
    for precision, dtype in (
        ("fp32", torch.float32),
        ("tf32", torch.float32),
        ("bf16", torch.bfloat16),
    ):
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        side = SIDE if on_gpu else SIDE // SMALL
        x = torch.randn(side, side, device=device).to(dtype)
        rates[precision] = 2 * side**3 / _best_s(partial(torch.matmul, x, x), device)
    torch.backends.cuda.matmul.allow_tf32 = False
    return Chip(name=name, bytes_per_s=copied, operations_per_s=rates)


def operations(call: Callable[[], Any]) -> int:
    """Count the additions and multiplications in the matrix products of a call of torch."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _best_s(call: Callable[[], Any], device: str) -> float:
    call()
    synchronize(device)
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return float(np.min(times))
