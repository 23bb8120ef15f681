"""A check of this machine: available providers, noise, and recommended fixes."""

import os
from dataclasses import dataclass

import psutil

from ssept.measure.machine import Machine, read_machine
from ssept.measure.packages import (
    OnnxRuntimeState,
    ProviderState,
    onnxruntime_state,
    provider_states,
)
from ssept.measure.quiet import Quietness, listen

BASELINE_PROVIDER = "cpu"
# Below this, torch, an export and the matrix do not fit beside the system.
EDGE_MEMORY_BYTES = 4e9
EXTRAS = {"cuda": "gpu", "openvino": "openvino", "cpu": "cpu", "edge": "cpu"}


@dataclass(frozen=True)
class Recommendation:
    """The tox environment for a machine, and why."""

    environment: str
    reason: str


@dataclass(frozen=True, kw_only=True)
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
    """Return the tox environment for a machine.

    The package index has onnxruntime-gpu and onnxruntime-openvino for x86-64 only.
    """
    memory = min(machine.memory_bytes, machine.cgroup_memory_bytes or machine.memory_bytes)
    x86 = machine.architecture == "x86_64"
    if machine.nvidia and x86:
        return Recommendation("cuda", "an NVIDIA driver is installed")
    if machine.board and not x86:
        return Recommendation("edge", f"{machine.board}: models are built elsewhere and copied")
    if memory < EDGE_MEMORY_BYTES:
        return Recommendation("edge", "under 4 GB of memory: models are built elsewhere and copied")
    if x86:
        return Recommendation("openvino", "x86-64 without an NVIDIA driver")
    return Recommendation("cpu", f"only plain ONNX Runtime is available for {machine.architecture}")


def blockers_of(report: Report) -> list[str]:
    """Return the reasons why measuring is impossible, each as a line with its fix."""
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
    """Return what blocks or disturbs measuring, each as a line with its fix; the worst first."""
    return (
        (blockers_of(report) or _baseline_warnings(report.providers))
        + [one for one in [report.onnxruntime.miscalculation] if one]
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
    """Return the disturbances of the timed work, and their likely causes."""
    quietness, allowed = report.quietness, report.machine.cpus_allowed
    if not quietness.disturbances:
        return []
    if quietness.noisy:
        advice = (
            "wait, or pin the run (taskset -c 0 …); ratios need more --rounds, times are unreliable"
        )
    else:
        advice = "trust ratios, not times; more --rounds narrow them"
    warnings = [f"{', '.join(quietness.disturbances)}: {advice}"]
    load = report.load_average[0]
    if quietness.busy:
        warnings.append(
            f"other processes run: {', '.join(map(str, quietness.busy))}; close them, or pin them "
            "elsewhere"
        )
    elif load > allowed:
        warnings.append(
            f"load average {load:.1f} on {allowed} CPUs, which no process here causes: others "
            "share the host; use a quieter one, or more --rounds"
        )
    return warnings


def _setting_warnings(machine: Machine) -> list[str]:
    """Return the settings of the machine that make times vary."""
    warnings = []
    if machine.governor not in (None, "performance"):
        warnings.append(
            f"the governor {machine.governor} lets the clock follow the load: "
            "sudo cpupower frequency-set -g performance"
        )
    quota = machine.cgroup_cpu_quota
    if quota and quota < machine.cpus_allowed:
        threads = int(quota)
        advice = (
            f"keep --threads at {threads} or below, or" if threads else "one thread is too many:"
        )
        warnings.append(
            f"the cgroup stops a process that takes over {quota:g} of the "
            f"{machine.cpus_allowed} CPUs it sees: {advice} raise the limit (docker: --cpus)"
        )
    return warnings
