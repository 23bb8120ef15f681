"""What a saved run was measured on: the machine, its software, the commit and hash of the code."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ssept.files import sha256, sha256_json
from ssept.results.typed import Natural, NotNegative

COMMIT_VARIABLE = "SSEPT_COMMIT"  # of code in a folder without its repository: JSON
MATRIX_CODE = ("ssept", "fixtures", "benchmarks")


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
    """The measured code; `time` is when it was committed, in ISO 8601."""

    id: str | None = None
    dirty: bool | None = None
    time: str | None = None


def code_sha256(folder: Path) -> str:
    """Hash the Python modules in a folder and below, with their names."""
    files = sorted(folder.rglob("*.py"))
    return sha256_json({file.relative_to(folder).as_posix(): sha256(file) for file in files})


def matrix_code_sha256(clone: Path) -> str:
    """Hash the code of the matrix in a clone."""
    return sha256_json({name: code_sha256(clone / name) for name in MATRIX_CODE})
