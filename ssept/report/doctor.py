"""The report of `ssept doctor` for a terminal."""

import textwrap

from ssept.measure.doctor import Report, warnings_of
from ssept.measure.packages import OnnxRuntimeState
from ssept.measure.quiet import Quietness
from ssept.report.text import WIDTH

WHY_ONE_ONNXRUNTIME = (
    "all onnxruntime distributions write the folder onnxruntime; the last one written wins, "
    "`pip check` says nothing, and uninstalling one leaves a hollow package. In this project's "
    "folder, two commands repair it:"
)

GIGABYTE = 1e9
LABEL = 22  # the longest name of a provider, and a gap
UNKNOWN = "unknown"
SWITCH = {True: "on", False: "off", None: UNKNOWN}
YES_OR_NO = {True: "yes", False: "no", None: UNKNOWN}


def render(report: Report) -> str:
    """Return the report as text, at most 100 columns wide except for a long path."""
    recommended = report.recommendation
    sections = {
        "machine": _machine_rows(report),
        "providers": [_row(state.name, state.unavailable or "runs") for state in report.providers],
        "onnxruntime": _onnxruntime_rows(report.onnxruntime),
        "quiet enough to measure?": _quietness_rows(report.quietness),
        "recommended": [_row(f"tox -e {recommended.environment}", recommended.reason)],
        "what to do": [
            "\n".join(_wrapped(text, f"  {n}. ", "     ", WIDTH))
            for n, text in enumerate(warnings_of(report), 1)
        ],
    }
    return "\n\n".join("\n".join([title, *rows]) for title, rows in sections.items() if rows)


def _machine_rows(report: Report) -> list[str]:
    machine = report.machine
    quota, limit = machine.cgroup_cpu_quota, machine.cgroup_memory_bytes
    cores = [
        f"{UNKNOWN if count is None else count} {kind}"
        for count, kind in ((machine.cores, "physical"), (machine.cpus, "logical"))
    ]
    rows = {
        "CPU": f"{machine.cpu}, {machine.architecture}",
        "board": machine.board,
        "cores": f"{', '.join(cores)}, {machine.cpus_allowed} allowed",
        "SMT": SWITCH[machine.smt],
        "instruction sets": " ".join(machine.instruction_sets) or "none that matter",
        "governor": machine.governor or UNKNOWN,
        "boost": SWITCH[machine.boost],
        "virtual machine": YES_OR_NO[machine.virtualised],
        "cgroup CPUs": f"{quota:g}" if quota else "no limit",
        "cgroup memory": _gigabytes(limit) if limit else "no limit",
        "memory": f"{_gigabytes(machine.memory_bytes)}, "
        f"{_gigabytes(report.memory_available_bytes)} available",
        "load average": " ".join(f"{load:.2f}" for load in report.load_average),
    }
    return [_row(label, text) for label, text in rows.items() if text]


def _onnxruntime_rows(state: OnnxRuntimeState) -> list[str]:
    rows = [_row("installed", ", ".join(state.installed) or "none")]
    if state.problem:
        rows += [_row("broken", state.problem), _row("why", WHY_ONE_ONNXRUNTIME)]
        rows += [
            " \\\n".join(_wrapped(command, "  ", "    ", WIDTH - len(" \\")))
            for command in state.repair
        ]
    return rows


def _quietness_rows(quietness: Quietness) -> list[str]:
    spread = quietness.spread
    ratios = " and ".join(
        f"p{q} {'unknown (too few calls)' if ratio is None else f'{ratio:.2f}'}"
        for q, ratio in ((95, spread.p95_ratio), (99, spread.p99_ratio))
    )
    return [
        _row("verdict", quietness.verdict),
        _row(
            "spread",
            f"{ratios} times the median of {spread.calls:,} calls of {spread.median_ms:.2f} ms",
        ),
        _row("longest stall", f"{spread.longest_stall_ms:.1f} ms"),
        _row("stolen CPU time", f"{spread.steal_share:.1%}"),
        _row("busy processes", ", ".join(map(str, quietness.busy)) or "none"),
    ]


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB"


def _row(label: str, text: str) -> str:
    return "\n".join(_wrapped(text, f"  {label:<{LABEL}}", " " * (LABEL + 2), WIDTH))


def _wrapped(text: str, first: str, others: str, columns: int) -> list[str]:
    return textwrap.wrap(
        text,
        columns,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,  # a path or a package's name is copied from here
        break_on_hyphens=False,
    )
