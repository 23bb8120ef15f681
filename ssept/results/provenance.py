"""What a saved run was measured on: the machine, its software, the commit of the code."""

from dataclasses import dataclass
from typing import TypedDict

from ssept.results.typed import Natural, NotNegative


class Fingerprint(TypedDict, total=False):
    """What the matrix says of machine and software: these fields, and others to be shown as text.

    A run of an earlier or later version may have others.
    """

    memory_bytes: Natural | None
    cgroup_memory_bytes: Natural | None
    cpus_allowed: Natural | None
    cgroup_cpu_quota: NotNegative | None
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
