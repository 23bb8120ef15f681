"""Can this machine measure, how well, and what to do about it: what `ssept doctor` says."""

import os
import textwrap
from dataclasses import dataclass

import psutil

from ssept.measure.machine import Machine, read_machine
from ssept.measure.packages import (
    OnnxRuntimeState,
    ProviderState,
    onnxruntime_state,
    provider_states,
)
from ssept.measure.quiet import BusyProcess, Quietness, listen

BASELINE_PROVIDER = "cpu"
# Below this, torch, an export and the matrix do not fit beside the system.
EDGE_MEMORY_BYTES = 4e9
EXTRAS = {"cuda": "gpu", "openvino": "openvino", "cpu": "cpu", "edge": "cpu"}
WHY_ONE_ONNXRUNTIME = (
    "all onnxruntime distributions write the folder onnxruntime; the last one written wins, "
    "`pip check` says nothing, and uninstalling one leaves a hollow package. In this project's "
    "folder, two commands mend it:"
)

GIGABYTE = 1e9
COLUMNS = 100
LABEL = 18
UNKNOWN = "unknown"
SWITCH = {True: "on", False: "off", None: UNKNOWN}
YES_OR_NO = {True: "yes", False: "no", None: UNKNOWN}


@dataclass(frozen=True)
class Recommendation:
    """The tox environment for a machine, and why."""

    environment: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What `examine` found; `dataclasses.asdict` makes plain JSON values of it.

    Attributes:
        machine: what stays the same from run to run.
        memory_available_bytes: at the moment.
        load_average: over 1, 5 and 15 minutes.
        providers: every provider of the table.
        onnxruntime: the installed distributions.
        quietness: whether times measured now can be trusted.
        recommendation: the tox environment for this machine.
    """

    machine: Machine
    memory_available_bytes: int
    load_average: tuple[float, float, float]
    providers: tuple[ProviderState, ...]
    onnxruntime: OnnxRuntimeState
    quietness: Quietness
    recommendation: Recommendation


def examine(seconds: float = 2.0) -> Report:
    """Look at this machine and its packages; the timed work takes about `seconds`."""
    machine = read_machine()
    recommendation = recommend(machine)
    return Report(
        machine=machine,
        memory_available_bytes=psutil.virtual_memory().available,
        load_average=os.getloadavg(),
        providers=provider_states(),
        onnxruntime=onnxruntime_state(EXTRAS[recommendation.environment]),
        quietness=listen(seconds),
        recommendation=recommendation,
    )


def recommend(machine: Machine) -> Recommendation:
    """The tox environment for a machine.

    The package index has onnxruntime-gpu and onnxruntime-openvino for x86-64 only.
    """
    memory = min(machine.memory_bytes, machine.cgroup_memory_bytes or machine.memory_bytes)
    x86 = machine.architecture == "x86_64"
    if machine.nvidia and x86:
        return Recommendation("cuda", "an NVIDIA driver is there")
    if machine.board and not x86:
        return Recommendation("edge", f"{machine.board}: models are built elsewhere and copied")
    if memory < EDGE_MEMORY_BYTES:
        return Recommendation("edge", "under 4 GB of memory: models are built elsewhere and copied")
    if x86:
        return Recommendation("openvino", "x86-64 without an NVIDIA driver")
    return Recommendation("cpu", f"plain ONNX Runtime is what there is for {machine.architecture}")


def blockers_of(report: Report) -> list[str]:
    """What makes measuring impossible, a line each with what to do; empty if nothing does."""
    if report.onnxruntime.problem:
        return [f"{report.onnxruntime.problem}: run the two pip commands of `ssept doctor`"]
    if all(provider.unavailable for provider in report.providers):
        environment = report.recommendation.environment
        return [
            f"no provider can run: install the {EXTRAS[environment]} extra, or use "
            f"`tox -e {environment}`"
        ]
    return []


def warnings_of(report: Report) -> list[str]:
    """What blocks or spoils measuring, a line each with what to do; the worst first."""
    return (
        (blockers_of(report) or _baseline_warnings(report.providers))
        + _noise_warnings(report)
        + _setting_warnings(report.machine)
    )


def _baseline_warnings(providers: tuple[ProviderState, ...]) -> list[str]:
    return [
        f"latency is not measured without the provider {provider.name}, the baseline of every "
        f"ratio: {provider.unavailable}"
        for provider in providers
        if provider.name == BASELINE_PROVIDER and provider.unavailable
    ]


def _noise_warnings(report: Report) -> list[str]:
    """What the timed work showed, and who may have caused it."""
    quietness, allowed = report.quietness, report.machine.cpus_allowed
    if not quietness.disturbances:
        return []
    if quietness.noisy:
        advice = "wait, or pin the run (taskset -c 0 …); ratios need more --rounds, times are off"
    else:
        advice = "trust ratios, not times; more --rounds narrow them"
    warnings = [f"{', '.join(quietness.disturbances)}: {advice}"]
    load = report.load_average[0]
    if quietness.busy:
        warnings.append(
            f"other processes run: {_named(quietness.busy)}; close them, or pin them elsewhere"
        )
    elif load > allowed:
        warnings.append(
            f"load average {load:.1f} on {allowed} CPUs, by nothing seen from here: others share "
            "the host; use a quieter one, or more --rounds"
        )
    return warnings


def _setting_warnings(machine: Machine) -> list[str]:
    """Settings that make times move."""
    warnings = []
    if machine.governor not in (None, "performance"):
        warnings.append(
            f"the governor {machine.governor} lets the clock follow the load: "
            "sudo cpupower frequency-set -g performance"
        )
    quota = machine.cgroup_cpu_quota
    if quota and quota < machine.cpus_allowed:
        warnings.append(
            f"the cgroup stops a process that takes over {quota:g} of the "
            f"{machine.cpus_allowed} CPUs it sees: keep --threads below, or raise the limit "
            "(docker: --cpus)"
        )
    return warnings


def render(report: Report) -> str:
    """The report as text, at most 100 columns wide but for a long path."""
    recommended = report.recommendation
    sections = {
        "machine": _machine_rows(report),
        "providers": [_row(state.name, state.unavailable or "runs") for state in report.providers],
        "onnxruntime": _onnxruntime_rows(report.onnxruntime),
        "quiet enough to measure?": _quietness_rows(report.quietness),
        "recommended": [_row(f"tox -e {recommended.environment}", recommended.reason)],
        "what to do": [
            "\n".join(_wrapped(text, f"  {n}. ", "     ", COLUMNS))
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
            " \\\n".join(_wrapped(command, "  ", "    ", COLUMNS - len(" \\")))
            for command in state.mending
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
        _row("busy processes", _named(quietness.busy) or "none"),
    ]


def _named(processes: tuple[BusyProcess, ...]) -> str:
    return ", ".join(
        f"{process.name} (pid {process.pid}, {process.cpus:.1f} CPUs)" for process in processes
    )


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB"


def _row(label: str, text: str) -> str:
    return "\n".join(_wrapped(text, f"  {label:<{LABEL}}", " " * (LABEL + 2), COLUMNS))


def _wrapped(text: str, first: str, others: str, columns: int) -> list[str]:
    return textwrap.wrap(
        text,
        columns,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,  # a path or a package's name is copied from here
        break_on_hyphens=False,
    )
