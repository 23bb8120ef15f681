"""Section 9: the machines, and how far their figures can be trusted."""

from ssept.report.page.content import Figure, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material
from ssept.report.text import NOTHING, how_intervals_were_made
from ssept.results.conditions import packages
from ssept.results.machines import UNKNOWN, machine
from ssept.results.schema import LATENCY, Timed

WORDS = {"True": "yes", "False": "no", UNKNOWN: "not known"}
DOCTOR = "`ssept doctor` measures the noise of a machine and says what to change."


def machines(material: Material) -> Section:
    """Return each machine, its software, and what limits the trust in its figures."""
    numbers = dict.fromkeys(run.machine for run in material.runs)
    return Section(
        key="machines",
        title="The machine, and how far it can be trusted",
        about=DOCTOR,
        parts=[_part(material, number) for number in numbers],
    )


def _part(material: Material, number: int) -> Part:
    runs = [run for run in material.runs if run.machine == number]
    return Part(
        heading=f"Machine {number}" if material.several_machines else "",
        sentences=[sentence for run in runs for sentence in _trust(material, run)],
        figures=[_table(runs)],
    )


def _table(runs: list[LabelledRun]) -> Figure:
    known = machine(runs[0].run) or {"machine": "not recorded"}
    rows = [
        (name.removesuffix("_bytes").replace("_", " "), WORDS.get(value, value))
        for name, value in known.items()
    ]
    for run in runs:
        software = packages(run.run) | {"python": _python(run)}
        text = ", ".join(f"{name} {version}" for name, version in software.items())
        rows.append((f"software of run {run.label}", text))
    return Figure(
        title="Hardware and software",
        columns=("property", "value"),
        rows=[Row(cells=row) for row in rows],
    )


def _python(run: LabelledRun) -> str:
    info = run.run.content.machine_info
    return (info and info.python_version) or NOTHING


def _trust(material: Material, run: LabelledRun) -> list[str]:
    """Say in sentences what the run itself shows of its noise, and what it cannot show."""
    prefix = f"Run {run.label}: " if len(material.runs) > 1 else ""
    found = [
        _against_itself(run),
        _spread(run),
        how_intervals_were_made(run.run),
        _virtual(run),
        _commit(run),
    ]
    return [prefix + " ".join(filter(None, found))]


def _baseline(run: LabelledRun) -> list[Timed]:
    own = run.run.baseline.combination
    return [
        facts
        for _, facts in run.measured(Timed)
        if (facts.variant, facts.provider) == own and not facts.options
    ]


def _against_itself(run: LabelledRun) -> str:
    ratios = [facts.speedup.value for facts in _baseline(run) if facts.speedup]
    if not ratios:
        return (
            "The baseline was not timed against itself, so the noise between sessions is unknown."
        )
    return (
        "The baseline against itself, where nothing differs, gave ratios from "
        f"{min(ratios):.3f} to {max(ratios):.3f}: treat differences of that size as noise."
    )


def _spread(run: LabelledRun) -> str:
    timed = [facts for facts in _baseline(run) if facts.measure == LATENCY]
    spreads = [
        facts.p99_ms.value / facts.p50_ms.value for facts in timed if facts.p50_ms and facts.p99_ms
    ]
    if not spreads:
        return ""
    return f"The baseline's p99 is up to {max(spreads):.2f} times its p50."


def _virtual(run: LabelledRun) -> str:
    if machine(run.run).get("virtualised") != "True":
        return ""
    return "A virtual machine: other guests can take its CPUs at any time, which it cannot see."


def _commit(run: LabelledRun) -> str:
    about = run.run.content.commit_info
    return f"Measured with uncommitted changes ({run.run.commit})." if about and about.dirty else ""
