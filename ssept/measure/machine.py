"""The machine and the environment fingerprint, on which a saved time depends."""

import errno
import os
import platform
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "openvino",
    "torch",
    "torchao",
    "ai-edge-litert",
    "faiss-cpu",
    "onnx",
)
# Instruction sets that decide how fast a matrix product runs, as Linux names them.
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
# 64-bit ARM kernels give a core's maker and part number in place of a name.
ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x4e", "0x004"): "Carmel",
}
CGROUPS = Path("/sys/fs/cgroup")
CPUS = Path("/sys/devices/system/cpu")
# cgroup v1 writes "no limit" as the largest number of whole pages, just below 2^63.
NO_LIMIT_BYTES = 1 << 60


@dataclass(frozen=True)
class Cpu:
    """What /proc/cpuinfo says.

    Attributes:
        name: the model, or on ARM the core; None where neither is given.
        instruction_sets: those of INSTRUCTION_SETS that it has.
        virtualised: whether a hypervisor shows itself; None where the CPU has no such flag (ARM).
    """

    name: str | None
    instruction_sets: tuple[str, ...]
    virtualised: bool | None


@dataclass(frozen=True)
class Limits:
    """What the cgroup allows: CPUs' worth of time, and bytes of memory; None for no limit."""

    cpus: float | None
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What stays the same from run to run; None where the machine does not say.

    Attributes:
        cpu: the CPU's model.
        architecture: as the kernel names it, "x86_64" or "aarch64".
        board: the single-board computer's name, from its device tree.
        cores, cpus, cpus_allowed: physical, logical, and those this process may run on.
        instruction_sets: those of INSTRUCTION_SETS that the CPU has.
        smt: whether cores run two threads at a time.
        virtualised: whether this is a virtual machine.
        cgroup_cpu_quota: CPUs' worth of time that the cgroup allows; None for no limit.
        cgroup_memory_bytes: the cgroup's memory limit; None for none.
        governor: the frequency governor of the first allowed CPU.
        boost: whether the clock may rise above its base frequency.
        memory_bytes: installed memory.
        nvidia: whether an NVIDIA driver is there.
    """

    cpu: str
    architecture: str
    board: str | None
    cores: int | None
    cpus: int | None
    cpus_allowed: int
    instruction_sets: tuple[str, ...]
    smt: bool | None
    virtualised: bool | None
    cgroup_cpu_quota: float | None
    cgroup_memory_bytes: int | None
    governor: str | None
    boost: bool | None
    memory_bytes: int
    nvidia: bool


def fingerprint() -> dict[str, Any]:
    """Return the machine and its packages, as plain JSON values."""
    return asdict(read_machine()) | {
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that times and scores depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def installed_versions() -> dict[str, str]:
    """Return the versions of all packages of this environment, by name."""
    found = {each.name: each.version for each in distributions() if each.name}
    return dict(sorted(found.items()))


def allowed_cpus() -> list[int]:
    """Return the CPUs that this process may run on; none where the system does not say."""
    try:
        return sorted(os.sched_getaffinity(0))
    except OSError:
        return []


def read_machine() -> Machine:
    """Read the properties of this machine."""
    cpu = parse_cpuinfo(read_text(Path("/proc/cpuinfo")) or "")
    allowed = os.sched_getaffinity(0)
    limits = cgroup_limits(read_text(Path("/proc/self/cgroup")) or "")
    board = read_text(Path("/proc/device-tree/model"))
    return Machine(
        cpu=cpu.name or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        board=board.rstrip("\0") if board else None,
        cores=psutil.cpu_count(logical=False),
        cpus=psutil.cpu_count(),
        cpus_allowed=len(allowed),
        instruction_sets=cpu.instruction_sets,
        smt=_switch(CPUS / "smt/active"),
        virtualised=cpu.virtualised,
        cgroup_cpu_quota=limits.cpus,
        cgroup_memory_bytes=limits.memory_bytes,
        governor=read_text(CPUS / f"cpu{min(allowed)}/cpufreq/scaling_governor"),
        boost=read_boost(CPUS),
        memory_bytes=psutil.virtual_memory().total,
        nvidia=Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None,
    )


def bind(process: int, cpus: Collection[int]) -> str | None:
    """Let a process or thread run on these CPUs only; 0 is the calling one.

    Returns:
        Why it is not bound: a container's seccomp profile may refuse the call, and an emulator
        may lack it.
    """
    try:
        os.sched_setaffinity(process, cpus)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        return f"sched_setaffinity: {error.strerror}"
    return None


def parse_cpuinfo(text: str) -> Cpu:
    """Read the CPU from a /proc/cpuinfo; of several kinds of core, the first."""
    entries: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entries.setdefault(key.strip(), value.strip())
    core = ARM_CORES.get((entries.get("CPU implementer", ""), entries.get("CPU part", "")))
    flags = (entries.get("flags") or entries.get("Features") or "").split()
    return Cpu(
        name=core or entries.get("model name"),
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        virtualised="hypervisor" in flags if "flags" in entries else None,
    )


def cgroup_limits(own: str, mount: Path = CGROUPS) -> Limits:
    """Return the tightest limits from a process's cgroup up to the root, of v1 and of v2.

    A container may see the host's name of its own cgroup while its root is mounted in that
    place, so that the names on the way do not exist: then the root holds the limits.

    Args:
        own: the text of /proc/self/cgroup, a line "number:controllers:path" a hierarchy; v2's
            has no controllers.
        mount: where the hierarchies are mounted.
    """
    quotas: list[float | None] = []
    memory: list[int | None] = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        inside = PurePosixPath(path.lstrip("/"))
        for level in (inside, *inside.parents):
            folder = mount / controllers / level
            v1 = (read_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            quotas.append(parse_quota(read_text(folder / "cpu.max")))
            quotas.append(parse_quota(" ".join(text or "" for text in v1)))
            memory.append(parse_memory_limit(read_text(folder / "memory.max")))
            memory.append(parse_memory_limit(read_text(folder / "memory.limit_in_bytes")))
    return Limits(
        min((quota for quota in quotas if quota is not None), default=None),
        min((limit for limit in memory if limit is not None), default=None),
    )


def parse_quota(text: str | None) -> float | None:
    """Read the CPUs' worth of time in a text "quota period" of microseconds; None for no limit."""
    quota, period = (text or "").split() or ("max", "1")
    return None if quota in ("max", "-1") else int(quota) / int(period)


def parse_memory_limit(text: str | None) -> int | None:
    """Read the bytes of a cgroup's memory limit; None for no limit."""
    limit = NO_LIMIT_BYTES if text in (None, "max") else int(text)
    return None if limit >= NO_LIMIT_BYTES else limit


def read_boost(cpus: Path) -> bool | None:
    """Return whether the clock may rise above its base frequency; None if unknown."""
    no_turbo = _switch(cpus / "intel_pstate/no_turbo")
    return _switch(cpus / "cpufreq/boost") if no_turbo is None else not no_turbo


def read_text(path: Path) -> str | None:
    """Read a small file of /proc or /sys; None if it is missing or its driver refuses."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _switch(path: Path) -> bool | None:
    text = read_text(path)
    return None if text is None else text == "1"
