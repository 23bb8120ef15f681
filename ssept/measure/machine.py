"""The environment fingerprint: what a saved time depends on besides the code."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "openvino",
    "torch",
    "onnx",
)
# Instruction sets that decide how fast a matrix product runs.
INSTRUCTION_SETS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
    "bf16",
)


def fingerprint() -> dict[str, Any]:
    """The machine and its packages, as plain JSON values."""
    cpu = _cpu_info()
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "instruction_sets": [
            name
            for name in INSTRUCTION_SETS
            if name in (cpu.get("flags") or cpu.get("Features") or "").split()
        ],
        "cgroup_cpu_quota": _cpu_quota(),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """The installed versions of the packages that times and scores depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _cpu_info() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    block = path.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _cpu_quota() -> float | None:
    """How many cores' worth of time the cgroup allows, or None for no limit."""
    quota, period = ((_first_line(Path("/sys/fs/cgroup/cpu.max")) or "max") + " 1").split()[:2]
    return None if quota == "max" else int(quota) / int(period)


def _first_line(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None
