"""Finished suites of a self-test: the records of the journal of each condition."""

from collections.abc import Sequence
from pathlib import Path

from ssept.decide import journal
from ssept.decide.gate.findings import Finding
from ssept.decide.gate.self_test.other_tools import rivals
from ssept.decide.gate.suite import latency_findings
from ssept.decide.gate.timing import Stretch, Timing
from ssept.decide.gate.workers.prepare import BASE, HEAD
from ssept.decide.journal import Record, utc_now

SCHEMA = 1


def file_of(folder: Path, condition: str) -> Path:
    """Return the file in a folder of results that has a condition's suites."""
    return folder / f"{condition}.jsonl"


def record_of(
    timing: Timing, settings: Record, about: Record, load_before: float, seconds: float
) -> Record:
    """Return a finished suite as plain JSON values, from which its verdicts can be judged again.

    Args:
        timing: each cell has its verdict.
        settings: of its condition.
        about: the machine and the code.
        load_before: the load average before it.
        seconds: the time that it took.
    """
    return {
        "schema": SCHEMA,
        "utc": utc_now(),
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
    """Return the records of a file with today's schema; none without the file.

    Raises:
        SseptError: a line is no record.
    """
    records = journal.read(path, "a suite", lambda record: record["schema"])
    return [record for record in records if record["schema"] == SCHEMA]


def matching(records: Sequence[Record], settings: Record, about: Record) -> list[Record]:
    """Return the suites of the same settings on a machine with as many CPUs of the same name."""
    return [record for record in records if identity(record) == (settings, *machine_of(about))]


def identity(record: Record) -> tuple[Record, str, int]:
    """Return what suites must share to be counted together."""
    return (record["settings"], *machine_of(record))


def machine_of(about: Record) -> tuple[str, int]:
    """Return the name of the CPU and the number of CPUs."""
    return about["cpu"], about["cpus"]
