"""The report of a run: a row for each cell with accuracy and speed, and what was not measured."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

from tabulate import tabulate

from ssept.errors import one_line
from ssept.estimate import Estimate
from ssept.report.choose import answers
from ssept.report.text import BYTES_PER_MEGABYTE, NOTHING, UNTOLD, mark
from ssept.results.cells import Combination, MatrixRun, MeasureKey, measure_key
from ssept.results.schema import (
    ACCURACY,
    ENERGY,
    LATENCY,
    ONE_CORE,
    REAL_LENGTHS,
    SERVED,
    About,
    Accuracy,
    Agreement,
    Budget,
    Concurrency,
    Energy,
    Facts,
    Footprint,
    ServedLoad,
    ServedRate,
    ServedRatio,
    ServedRequests,
    Sustained,
    Timed,
)

Kind = TypeVar("Kind", bound=Facts)
CellFacts = Mapping[MeasureKey, Facts]  # of one cell, in the order of the run
Cells = dict[Combination, CellFacts]
Column = Callable[[CellFacts], str]
FAULT = 50  # characters of why a server carries nothing
SMALLEST_BATCH = MeasureKey(REAL_LENGTHS, 1)


def matrix_report(run: MatrixRun, *, full: bool = True) -> str:
    """Return the answer, tables and lists of a saved run, at most 100 columns wide.

    Args:
        run: of the matrix.
        full: whether with the tables of times and memory.
    """
    cells = _cells(run)
    parts = [
        answers(run),
        _table(cells, run.baseline.combination),
        _times(cells) if full else "",
        _more(cells) if full else "",
        _sustained(run),
        _served(run),
        *_unmeasured(run.content.ssept),
    ]
    return "\n\n".join(part for part in parts if part)


def _cells(run: MatrixRun) -> Cells:
    """Return the facts of each cell by their measure, the fastest cell at the least batch first."""
    cells: dict[Combination, dict[MeasureKey, Facts]] = defaultdict(dict)
    for facts in run.facts:
        if not facts.measure.startswith(SERVED):
            cells[Combination(facts.variant, facts.provider)][measure_key(facts)] = facts
    batches = _batches(cells)
    smallest = MeasureKey(LATENCY, batches[0]) if batches else None

    def speed(combination: Combination) -> float:
        timed = cells[combination].get(smallest) if smallest else None
        return timed.speedup.value if isinstance(timed, Timed) and timed.speedup else 0.0

    return {each: cells[each] for each in sorted(cells, key=speed, reverse=True)}


def _table(cells: Cells, baseline: Combination) -> str:
    """Return the table to choose by: size, accuracy, and speed against the baseline."""
    if not cells:
        return ""
    columns = {
        "MB": lambda cell: f"{_first(cell).size_bytes / BYTES_PER_MEGABYTE:,.2f}",
        "NDCG@10": _column(
            Accuracy, MeasureKey(ACCURACY, split="test"), lambda own: f"{own.full.ndcg.value:,.4f}"
        ),
        "Δ %": _column(
            Budget, MeasureKey("budget"), lambda own: f"{100 * own.ndcg_change.value:+.2f}"
        ),
        "top 10": _column(
            Agreement, MeasureKey("agreement"), lambda own: f"{own.top10_overlap:,.3f}"
        ),
        **{f"×b{batch}": _speedup(MeasureKey(LATENCY, batch)) for batch in _batches(cells)},
    }
    names = [f"{name} *" if name == baseline else str(name) for name in cells]
    return _tabulated(names, cells, columns) + _legend(cells, baseline)


def _times(cells: Cells) -> str:
    """Return the table of times of this machine, memory, and the proof of use."""
    batches = _batches(cells)
    smallest = MeasureKey(LATENCY, batches[0]) if batches else MeasureKey(LATENCY)
    columns = {
        "p50": _column(Timed, smallest, lambda own: _number(own.p50_ms, 3)),
        "p95": _column(Timed, smallest, lambda own: _number(own.p95_ms, 3)),
        "p99": _column(Timed, smallest, lambda own: _number(own.p99_ms, 3)),
        "FPS": _column(Timed, MeasureKey("throughput"), lambda own: _number(own.fps, 0)),
        "cold s": _column(Footprint, MeasureKey("footprint"), lambda own: _number(own.total_s, 2)),
        "peak MB": _column(
            Footprint,
            MeasureKey("footprint"),
            lambda own: _number(own.peak_rss_bytes / BYTES_PER_MEGABYTE, 0),
        ),
        **{
            f"{source.split()[0]} J b{key.batch}": _energy(key, source)
            for source in _energy_sources(cells)
            for key in _energies(cells)
        },
        "ran on": lambda cell: _placement(_first(cell).placement),
    }
    table = _tabulated([*map(str, cells)], cells, columns)
    legend = f"\np50 p95 p99: ms a call at batch {batches[0]}" if batches else ""
    if sources := _energy_sources(cells):
        legend += f"\nJ bN: joules of 1,000 recommendations at batch N: {', '.join(sources)}"
    return table and table + legend


def _energies(cells: Cells) -> list[MeasureKey]:
    """Return the keys of measured energy, smallest batch first."""
    measured = {measure for cell in cells.values() for measure in cell}
    return sorted(key for key in measured if key.kind == ENERGY)


def _energy(key: MeasureKey, source: str) -> Column:
    def shown(own: Energy) -> str:
        return _number(own.joules_per_thousand, 3) if own.source == source else NOTHING

    return _column(Energy, key, shown)


def _energy_sources(cells: Cells) -> list[str]:
    """Return the names of the counters."""
    facts = (each for cell in cells.values() for each in cell.values())
    return sorted({each.source for each in facts if isinstance(each, Energy)})


def _batches(cells: Mapping[Combination, CellFacts]) -> list[int]:
    """Return the batch sizes of the latency cells, smallest first."""
    measured = {measure for cell in cells.values() for measure in cell}
    return sorted(own.batch for own in measured if own.kind == LATENCY and own.batch)


def _more(cells: Cells) -> str:
    """Return the table of one core, real lengths, several sessions and cost, as far as measured."""
    columns = {
        "edge p50": _column(Timed, MeasureKey(ONE_CORE), lambda own: _number(own.p50_ms, 3)),
        "real p50": _column(Timed, SMALLEST_BATCH, lambda own: _number(own.p50_ms, 3)),
        "real ×": _speedup(SMALLEST_BATCH),
        "sessions": _column(
            Concurrency, MeasureKey("concurrency"), lambda own: _number(own.sessions, 0)
        ),
        "scaling": _column(
            Concurrency, MeasureKey("concurrency"), lambda own: _number(own.scaling, 2)
        ),
        "cost/M": _column(
            Timed, MeasureKey("throughput"), lambda own: _number(own.cost_per_million, 4)
        ),
    }
    table = _tabulated([*map(str, cells)], cells, columns)
    return table and (
        f"{table}\nedge: one core; real: histories of real users at batch 1; scaling: throughput "
        "of the sessions\nside by side against one"
    )


def _column(kind: type[Kind], measure: MeasureKey, shown: Callable[[Kind], str]) -> Column:
    """Return a column with a measure of each cell, or a dash."""

    def column(cell: CellFacts) -> str:
        facts = cell.get(measure)
        return shown(facts) if isinstance(facts, kind) else NOTHING

    return column


def _speedup(measure: MeasureKey) -> Column:
    return _column(Timed, measure, lambda own: _ratio(own.speedup) if own.speedup else NOTHING)


def _first(cell: CellFacts) -> Facts:
    """Return the first facts of a cell: some values are the same in all."""
    return next(iter(cell.values()))


def _tabulated(names: list[str], cells: Cells, columns: Mapping[str, Column]) -> str:
    """Return a table with a row for each cell, without empty columns.

    Args:
        names: of the rows.
        cells: the facts.
        columns: by title, what a cell shows in it.
    """
    filled = {}
    for title, column in columns.items():
        values = [column(cell) for cell in cells.values()]
        if any(value != NOTHING for value in values):
            filled[title] = values
    if not filled:
        return ""
    header = ["cell", *filled]
    rows = [list(row) for row in zip(names, *filled.values(), strict=True)]
    return tabulate(rows, header, disable_numparse=True, colalign=_alignment(header))


def _sustained(run: MatrixRun) -> str:
    return "\n".join(
        f"sustained: {facts.calls:,} calls in {facts.seconds} s; the last sixth took "
        f"{facts.slowdown:.3f} times as long a call as the first"
        for facts in run.facts
        if isinstance(facts, Sustained)
    )


def _served(run: MatrixRun) -> str:
    """Return the tables of loads on servers, with client and server times, and ratios of two."""
    loads = [_load(facts) for facts in run.facts if isinstance(facts, ServedLoad)]
    ratios = [
        f"{facts.served} against {facts.against}, {facts.load}: {_ratio(facts.ratio)} "
        f"[{facts.ratio.low:.2f}, {facts.ratio.high:.2f}] times the throughput"
        for facts in run.facts
        if isinstance(facts, ServedRatio)
    ]
    table = ""
    if loads:
        header = ["served", "load", "seq/s", "p50", "p99", "mean", "queue", "compute"]
        table = tabulate(
            loads, header, disable_numparse=True, colalign=["left"] * 2 + ["right"] * 6
        )
        table += "\nms a request: p50, p99 and mean at the client; queue and compute in the server"
    return "\n\n".join(filter(None, (table, _requests(run), _rates(run), "\n".join(ratios))))


def _rates(run: MatrixRun) -> str:
    """Return the table of servers by the rate that they carry within a promise."""
    found = [facts for facts in run.facts if isinstance(facts, ServedRate)]
    found.sort(key=lambda facts: facts.rate or 0.0, reverse=True)
    if not found:
        return ""
    of = f"× {found[0].against}"
    header = ["server", "req/s", "", of, "", "CPU", "MB", "cold", "×2", "failed"]
    rows = [_rate(facts) for facts in found]
    align = ["left", *["right"] * 8, "left"]
    return (
        f"{tabulate(rows, header, disable_numparse=True, colalign=align)}\n"
        f"req/s: 99 % answered within {found[0].limit_ms:g} ms and none failed, in 4 of 5 loads; "
        "[ ]: 99 % intervals;\nCPU: ms a request; MB: of its processes; cold: seconds to the first "
        "answer; ×2: the share answered\nin time at twice that rate; failed: of all loads, "
        "refusals up to that rate only;\n"
        "!: the client was busy or late, and may be what limits the figure"
    )


def _rate(facts: ServedRate) -> list[str]:
    if facts.rate is None:
        why = facts.fault or f"never within {facts.limit_ms:g} ms"
        return [facts.server, *[NOTHING] * 8, one_line(why, FAULT)]
    failed = ", ".join(f"{n:,} {kind}" for kind, n in facts.failed.items())
    failed = "; ".join(filter(None, (failed, one_line(facts.fault, FAULT))))
    rate, times = facts.rate_interval, facts.ratio_interval
    mark = " !" if facts.client_bound else ""
    return [
        facts.server,
        f"{facts.rate:,.0f}{mark}",
        f"[{rate.low:,.0f}, {rate.high:,.0f}]" if rate else "",
        _number(facts.ratio, 2),
        f"[{times.low:.2f}, {times.high:.2f}]" if times else "",
        _number(facts.cpu_ms, 2),
        _number(facts.rss_bytes and facts.rss_bytes / BYTES_PER_MEGABYTE, 0),
        _number(facts.cold_s, 1),
        NOTHING if facts.overload is None else f"{facts.overload:.0%}",
        failed or "0",
    ]


def _requests(run: MatrixRun) -> str:
    """Return the table of loads on the HTTP server, as measured by its clients."""
    rows = [_request(facts) for facts in run.facts if isinstance(facts, ServedRequests)]
    if not rows:
        return ""
    header = ["served", "client", "load", "req/s", "p50", "p99", "late", "failed"]
    table = tabulate(rows, header, disable_numparse=True, colalign=["left"] * 3 + ["right"] * 5)
    return (
        f"{table}\nms a request: p50, p99, and late: by how much the client sent it too late, on "
        "average;\n!: the client was busy or late, and may be what limits the figure"
    )


def _request(facts: ServedRequests) -> list[str]:
    result = facts.result
    mark = " !" if result.client_bound else ""
    row = [facts.served, facts.client, facts.load, f"{result.rate:,.0f}{mark}"]
    figures = (result.latency.p50_ms, result.latency.p99_ms, result.late_mean_ms)
    row += [NOTHING if one is None else f"{one:.2f}" for one in figures]
    return [*row, ", ".join(f"{n:,} {kind}" for kind, n in result.errors.items())]


def _load(facts: ServedLoad) -> list[str]:
    own = facts.figures
    compute = own.compute_input_us + own.compute_infer_us + own.compute_output_us
    times = (own.p50_us, own.p99_us, own.latency_us, own.queue_us, compute)
    row = [f"{facts.served} {facts.protocol}", facts.load, f"{own.inferences_per_s:,.0f}"]
    return [*row, *(f"{time / 1e3:.2f}" for time in times)]


def _legend(cells: Cells, baseline: Combination) -> str:
    lines = ["", f"* baseline {baseline}; {NOTHING}: not measured, or too few calls"]
    measured = {measure.kind for cell in cells.values() for measure in cell}
    if "budget" in measured:
        lines.append(
            "Δ %: change of NDCG@10 against the baseline, over each user's validation and test item"
        )
    if "agreement" in measured:
        lines.append("top 10: the share of torch's best ten that is among its own")
    if LATENCY in measured:
        lines.append(
            "×bN: times as fast as the baseline at batch N, from pairs in one loop; "
            f"{UNTOLD}: may be 1 (99 %)"
        )
    return "\n".join(lines)


def _alignment(header: list[str]) -> list[str]:
    return ["left" if name in ("cell", "ran on") else "right" for name in header]


def _number(found: Estimate | float | None, digits: int) -> str:
    """Write a figure or an estimate's value, or a dash."""
    if found is None:
        return NOTHING
    return f"{found.value if isinstance(found, Estimate) else found:,.{digits}f}"


def _ratio(estimate: Estimate) -> str:
    """Write a speed-up, marked if its interval holds 1."""
    return f"{estimate.value:.2f}{mark(estimate)}"


def _placement(nodes: dict[str, int]) -> str:
    """Write the proof of use: "OpenVINO 1/1" when all nodes ran there."""
    total = sum(nodes.values())
    return ", ".join(f"{name} {count}/{total}" for name, count in nodes.items()) or NOTHING


def _unmeasured(about: About) -> list[str]:
    """List failed and skipped cells with their reasons, and combinations that do not apply."""
    lists = []
    for outcome in ("failed", "skipped"):
        reasons: dict[str, list[str]] = defaultdict(list)
        for entry in about.outcomes:
            if entry.outcome == outcome:
                cell = f"{entry.variant}-{entry.provider}"
                label = cell if outcome == "skipped" else entry.test
                if label not in reasons[entry.reason]:
                    reasons[entry.reason].append(label)
        if reasons:
            lines = [f"  {', '.join(names)}: {reason}" for reason, names in reasons.items()]
            lists.append("\n".join([f"{outcome}:", *lines]))
    if about.not_applicable:
        lists.append("not applicable: " + ", ".join(about.not_applicable))
    return lists
