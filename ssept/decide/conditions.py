"""What saved runs were measured under, and in what of it they differ."""

from collections.abc import Sequence
from typing import Any

from ssept.results.cells import SHORT, Run, baseline_of, options_text

UNKNOWN = "–"
# The fingerprint's software; all the rest of it is the machine.
SOFTWARE = ("system", "python", "packages")


def conditions(run: Run, *, matrix: bool) -> dict[str, str]:
    """What a run was measured under, by name, as short text.

    Args:
        run: any saved run.
        matrix: with what only the matrix records; else what every pytest-benchmark file has.
    """
    found = machine(run, matrix=matrix) | {"commit": run.commit}
    info = run.content.get("machine_info") or {}
    if not matrix:
        return found | {"python": _text(info.get("python_version"))}
    software = info.get("ssept", {})
    found |= {name: _text(software.get(name)) for name in SOFTWARE if name != "packages"}
    return found | packages(run) | _settings(run)


def machine(run: Run, *, matrix: bool) -> dict[str, str]:
    """What tells one machine from another, by name, as short text; empty where nothing does.

    Args:
        run: any saved run.
        matrix: by the matrix's fingerprint; else by what every pytest-benchmark file has.
    """
    info = run.content.get("machine_info") or {}
    if matrix:
        found = info.get("ssept", {})
        # The kernel keeps some memory for itself, not the same after each update: whole GB stay.
        rounded = {k: f"{v / 1e9:.0f} GB" for k, v in found.items() if v and k.endswith("_bytes")}
        return {k: _text(v) for k, v in (found | rounded).items() if k not in SOFTWARE}
    cpu = info.get("cpu") or {}
    known = {name: info.get(name) for name in ("node", "machine")}
    known |= {"cpu": cpu.get("brand_raw"), "cpus": cpu.get("count")}
    return {name: str(value) for name, value in known.items() if value}


def packages(run: Run) -> dict[str, str]:
    """The versions of the packages that a run of the matrix records, by name."""
    found: dict[str, str] = (
        (run.content.get("machine_info") or {}).get("ssept", {}).get("packages", {})
    )
    return found


def differences(found: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """The values, one a run, of each name that has not the same value in all.

    Args:
        found: of each run its conditions, or a part of them.
    """
    names = dict.fromkeys(name for each in found for name in each)
    values = {name: [each.get(name, UNKNOWN) for each in found] for name in names}
    return {name: of for name, of in values.items() if len(set(of)) > 1}


def _settings(run: Run) -> dict[str, str]:
    """Model, data, baseline, and how the cells were called."""
    baseline = baseline_of(run)
    texts = {
        "checkpoint": _all_of(run, "checkpoint"),
        "checkpoint sha256": _all_of(run, "checkpoint_sha256"),
        "data": _all_of(run, "data_hash"),
        "baseline": baseline.pair,
        "baseline's file": (baseline.file_sha256 or UNKNOWN)[:SHORT],
        "threads": ", ".join(map(str, sorted(run.threads))),
        "call": _all_of(run, "call"),
        "length": _all_of(run, "length"),
    }
    options = {
        f"options of {facts['variant']}-{facts['provider']}": options_text(facts["options"])
        for facts in run.facts
        if facts["options"]
    }
    return texts | options


def _all_of(run: Run, name: str) -> str:
    """The values of this fact together, in the order of the run; of a hash the first digits."""
    cut = SHORT if name.endswith(("_sha256", "_hash")) else None
    values = dict.fromkeys(str(facts[name])[:cut] for facts in run.facts if facts.get(name))
    return ", ".join(values) or UNKNOWN


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return UNKNOWN if value is None else str(value)
