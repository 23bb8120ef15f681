"""A machine whose cgroup allows half of a CPU, as a plugin of pytest."""

import tempfile
from pathlib import Path

import pytest

from ssept.measure import machine
from ssept.measure.machine import Limits


def half_a_cpu(_own: str) -> Limits:
    """Read the limits of such a cgroup, from a file as the kernel writes it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cpu.max").write_text("50000 100000\n")
        return read("0::/\n", Path(folder))


read = machine.cgroup_limits


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    machine.cgroup_limits = half_a_cpu
