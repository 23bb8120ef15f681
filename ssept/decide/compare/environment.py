"""Conditions of saved runs, and the differences between them."""

from collections.abc import Sequence
from typing import Any

from ssept.results.cells import SHORT, MatrixRun, Run, options_text

UNKNOWN = "–"
MEMORY = ("memory_bytes", "cgroup_memory_bytes")
# The fingerprint's software; all the rest of it is the machine.
SOFTWARE = ("system", "python", "packages")


def conditions(run: MatrixRun) -> dict[str, str]:
    """Return the conditions of a run of the matrix by name, as short text."""
    known = _fingerprint(run)
    software = {name: _text(known.get(name)) for name in SOFTWARE if name != "packages"}
    return machine(run) | {"commit": run.commit} | software | packages(run) | _settings(run)


def plain_conditions(run: Run) -> dict[str, str]:
    """Return the conditions of any run, from fields that every pytest-benchmark file has."""
    info = run.content.machine_info
    python = {"python": _text(info and info.python_version)}
    return plain_machine(run) | {"commit": run.commit} | python


def machine(run: MatrixRun) -> dict[str, str]:
    """Return what identifies the machine of a run, by name, as short text; empty if unknown."""
    known = _fingerprint(run)
    # The kernel keeps some memory for itself, not the same after each update: whole GB stay.
    rounded = {name: f"{known[name] / 1e9:.0f} GB" for name in MEMORY if known.get(name)}
    return {k: _text(v) for k, v in (known | rounded).items() if k not in SOFTWARE}


def plain_machine(run: Run) -> dict[str, str]:
    """Identify the machine of any run, from fields that every pytest-benchmark file has."""
    if not (info := run.content.machine_info):
        return {}
    known: dict[str, Any] = {"node": info.node, "machine": info.machine}
    if info.cpu:
        known |= {"cpu": info.cpu.brand_raw, "cpus": info.cpu.count}
    return {name: str(value) for name, value in known.items() if value}


def packages(run: MatrixRun) -> dict[str, str]:
    """Return the versions of the packages that a run of the matrix records, by name."""
    found: dict[str, str] = _fingerprint(run).get("packages", {})
    return found


def differences(found: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Return the values, one for each run, of each name whose value differs between runs.

    Args:
        found: of each run its conditions, or a part of them.
    """
    names = dict.fromkeys(name for each in found for name in each)
    values = {name: [each.get(name, UNKNOWN) for each in found] for name in names}
    return {name: of for name, of in values.items() if len(set(of)) > 1}


def _fingerprint(run: MatrixRun) -> dict[str, Any]:
    info = run.content.machine_info
    return {**info.ssept} if info and info.ssept else {}


def _settings(run: MatrixRun) -> dict[str, str]:
    """Model, data, baseline, and how the cells were called."""
    baseline = run.baseline
    texts = {
        "checkpoint": _all_of(run, "checkpoint"),
        "checkpoint sha256": _all_of(run, "checkpoint_sha256"),
        "data": _all_of(run, "data_hash"),
        "baseline": str(baseline.combination),
        "baseline's file": (baseline.file_sha256 or UNKNOWN)[:SHORT],
        "threads": ", ".join(map(str, sorted(run.threads))),
        "call": _all_of(run, "call"),
        "length": _all_of(run, "length"),
    }
    options = {
        f"options of {facts.variant}-{facts.provider}": options_text(facts.options)
        for facts in run.facts
        if facts.options
    }
    return texts | options


def _all_of(run: MatrixRun, name: str) -> str:
    """Join the values of a fact, in the order of the run; of a hash, the first digits."""
    cut = SHORT if name.endswith(("_sha256", "_hash")) else None
    found = [getattr(facts, name, None) for facts in run.facts]  # not all were timed
    values = dict.fromkeys(str(value)[:cut] for value in found if value)
    return ", ".join(values) or UNKNOWN


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return UNKNOWN if value is None else str(value)
