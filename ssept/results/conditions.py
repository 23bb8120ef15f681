"""Conditions of saved runs, and the differences between them."""

from collections.abc import Sequence
from typing import Any

from ssept.results.cells import SHORT, MatrixRun, Run, options_text
from ssept.results.machines import SOFTWARE, UNKNOWN, fingerprint, machine, text


def conditions(run: MatrixRun) -> dict[str, str]:
    """Return the conditions of a run of the matrix by name, as short text."""
    return surroundings(run) | _settings(run)


def surroundings(run: MatrixRun) -> dict[str, str]:
    """Return the machine, the commit and the software of a run of the matrix."""
    known = fingerprint(run)
    software = {name: text(known.get(name)) for name in SOFTWARE if name != "packages"}
    return machine(run) | {"commit": run.commit} | software | packages(run)


def plain_conditions(run: Run) -> dict[str, str]:
    """Return the conditions of any run, from fields that every pytest-benchmark file has."""
    info = run.content.machine_info
    python = {"python": text(info and info.python_version)}
    return plain_machine(run) | {"commit": run.commit} | python


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
    found: dict[str, str] = fingerprint(run).get("packages", {})
    return found


def differences(found: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Return the values, one for each run, of each name whose value differs between runs.

    Args:
        found: of each run its conditions, or a part of them.
    """
    names = dict.fromkeys(name for each in found for name in each)
    values = {name: [each.get(name, UNKNOWN) for each in found] for name in names}
    return {name: of for name, of in values.items() if len(set(of)) > 1}


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
