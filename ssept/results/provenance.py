"""What a saved run was measured on: the machine, its software, the commit of the code."""

from dataclasses import dataclass

from ssept.results.typed import Natural, NotNegative


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What stays the same from run to run; None where the machine does not say.

    Attributes:
        cpu: the CPU's model.
        architecture: as the kernel names it, "x86_64" or "aarch64".
        board: the single-board computer's name, from its device tree.
        cores, cpus, cpus_allowed: physical, logical, and those this process may run on.
        instruction_sets: those that decide how fast a matrix product runs.
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
    cores: Natural | None
    cpus: Natural | None
    cpus_allowed: Natural
    instruction_sets: tuple[str, ...]
    smt: bool | None
    virtualised: bool | None
    cgroup_cpu_quota: NotNegative | None
    cgroup_memory_bytes: Natural | None
    governor: str | None
    boost: bool | None
    memory_bytes: Natural
    nvidia: bool


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Machine):
    """The machine, and what software ran on it."""

    system: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class CpuInfo:
    """What pytest-benchmark says of the CPU."""

    brand_raw: str | None = None
    count: Natural | None = None


@dataclass(frozen=True, kw_only=True)
class MachineInfo:
    """What pytest-benchmark says of the machine; in a run of the matrix, our fingerprint too."""

    node: str | None = None
    machine: str | None = None
    python_version: str | None = None
    cpu: CpuInfo | None = None
    ssept: Fingerprint | None = None


@dataclass(frozen=True)
class CommitInfo:
    """The measured code."""

    id: str | None = None
    dirty: bool | None = None
