"""The raw trials of a self-test: a line of JSON for each finished suite, kept whatever happens."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssept.decide.gate.findings import Finding
from ssept.decide.gate.self_test.other_tools import rivals
from ssept.decide.gate.suite import latency_findings
from ssept.decide.gate.timing import Stretch, Timing
from ssept.decide.gate.workers.prepare import BASE, HEAD
from ssept.files import read_json_lines

SCHEMA = 1
Record = dict[str, Any]


def file_of(folder: Path, condition: str) -> Path:
    """Where a folder of results keeps a condition's suites."""
    return folder / f"{condition}.jsonl"


def record_of(
    timing: Timing, settings: Record, about: Record, load_before: float, seconds: float
) -> Record:
    """A finished suite as plain JSON values, from which its verdicts can be judged again.

    Args:
        timing: each cell has its verdict.
        settings: of its condition.
        about: the machine and the code.
        load_before: the load average before it.
        seconds: that it took.
    """
    return {
        "schema": SCHEMA,
        "utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **about,
        "settings": settings,
        "load_before": round(load_before, 2),
        "seconds": round(seconds, 2),
        "cells": {
            finding.cell: _cell(finding, timing.stretches[finding.cell])
            for finding in latency_findings(timing)
        },
    }


def _cell(finding: Finding, stretches: Sequence[Stretch]) -> Record:
    calls = {role: [stretch.calls_ns[role] for stretch in stretches] for role in (BASE, HEAD)}
    return {
        "verdict": finding.verdict.value,
        "why": finding.why,
        "looks": finding.details["looks"],
        "log_ratios": [round(stretch.log_ratio, 8) for stretch in stretches],
        "rounds": [stretch.rounds for stretch in stretches],
        "base_ns": [round(stretch.base_ns) for stretch in stretches],
        "head_ns": [round(stretch.head_ns) for stretch in stretches],
        "units": [stretch.units for stretch in stretches],
        "rivals": rivals(calls[BASE], calls[HEAD]) if len(stretches) > 1 else {},
    }


def read(path: Path) -> list[Record]:
    """The records of a file with today's schema, none where there is no file.

    Raises:
        SseptError: a line is no record.
    """
    records = read_json_lines(path, "a suite", lambda record: record["schema"])
    return [record for record in records if record["schema"] == SCHEMA]


def matching(records: Sequence[Record], settings: Record, about: Record) -> list[Record]:
    """The suites of the same settings on a machine with as many CPUs of the same name."""
    return [record for record in records if identity(record) == (settings, *machine_of(about))]


def identity(record: Record) -> tuple[Record, str, int]:
    """What suites must share to be counted together."""
    return (record["settings"], *machine_of(record))


def machine_of(about: Record) -> tuple[str, int]:
    """The CPU's name and how many there are."""
    return about["cpu"], about["cpus"]
