"""The machine that a saved run was measured on, as its file describes it."""

from typing import Any

from ssept.results.cells import MatrixRun

UNKNOWN = "–"
MEMORY = ("memory_bytes", "cgroup_memory_bytes")
# The fingerprint's software; all the rest of it is the machine.
SOFTWARE = ("system", "python", "packages")


def fingerprint(run: MatrixRun) -> dict[str, Any]:
    """Return what a run says of machine and software; empty if it says nothing."""
    info = run.content.machine_info
    return {**info.ssept} if info and info.ssept else {}


def machine(run: MatrixRun) -> dict[str, str]:
    """Return what identifies the machine of a run, by name, as short text; empty if unknown."""
    known = fingerprint(run)
    # The kernel keeps some memory for itself, not the same after each update: whole GB stay.
    rounded = {name: f"{known[name] / 1e9:.0f} GB" for name in MEMORY if known.get(name)}
    return {k: text(v) for k, v in (known | rounded).items() if k not in SOFTWARE}


def cpus(run: MatrixRun) -> float | None:
    """Return how many CPUs' worth of time a run could use; None if unknown."""
    known = fingerprint(run)
    counts = [known.get("cpus_allowed"), known.get("cgroup_cpu_quota")]
    return min((count for count in counts if count), default=None)


def text(value: Any) -> str:
    """Write a value of the fingerprint as short text."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return UNKNOWN if value is None else str(value)
