"""The summary of a run: a row a cell, accuracy beside speed; below, what was not measured."""

from collections import defaultdict
from typing import Any

from tabulate import tabulate

Run = dict[str, Any]
Facts = dict[str, Any]
Cells = dict[str, dict[str, Facts]]
NOTHING = "–"
UNTOLD = "~"
ANY = ""  # whichever measure of the cell
SERVED = "served"  # begins the measures of a model behind a server


def matrix_report(run: Run) -> str:
    """The table of a saved run and the lists below it, at most 100 columns wide.

    Args:
        run: the content of a results file.
    """
    cells = _cells(run)
    parts = [
        _table(cells, run["ssept"]["baseline"]),
        _times(cells),
        _more(cells),
        _sustained(run),
        _served(run),
        *_unmeasured(run["ssept"]),
    ]
    parts = [part for part in parts if part]
    return "\n\n".join(parts)


def _cells(run: Run) -> Cells:
    """The facts of each cell by what they measure, in the order of the run."""
    cells: Cells = defaultdict(dict)
    for benchmark in run["benchmarks"]:
        facts = benchmark["extra_info"]
        if not str(facts["measure"]).startswith(SERVED):
            cells[f"{facts['variant']}-{facts['provider']}"][_measure(facts)] = facts
    return cells


def _table(cells: Cells, baseline: str) -> str:
    """What a choice is made by: size, accuracy, and speed against the baseline."""
    if not cells:
        return ""
    batches = _batches(cells)
    columns = {
        "MB": (ANY, "size_bytes", 2),
        "NDCG@10": ("accuracy test", "full", 4),
        "Δ %": ("budget", "ndcg_change", 2),
        "top 10": ("agreement", "top10_overlap", 3),
        **{f"×b{batch}": (f"latency {batch}", "speedup", 2) for batch in batches},
    }
    names = [f"{name} *" if name == baseline else name for name in cells]
    return _tabulated(names, cells, columns) + _legend(cells, baseline)


def _times(cells: Cells) -> str:
    """Times of this machine, memory, and the proof of use."""
    batches = _batches(cells)
    smallest = f"latency {batches[0]}" if batches else ""
    columns = {
        **{f"p{q}": (smallest, f"p{q}_ms", 3) for q in (50, 95, 99)},
        "FPS": ("throughput", "fps", 0),
        "cold s": ("footprint", "total_s", 2),
        "peak MB": ("footprint", "peak_rss_bytes", 0),
        "ran on": (ANY, "placement", 0),
    }
    table = _tabulated(list(cells), cells, columns)
    legend = f"\np50 p95 p99: ms a call at batch {batches[0]}" if batches else ""
    return table and table + legend


def _batches(cells: Cells) -> list[int]:
    """The batch sizes of the latency cells, smallest first."""
    facts = [facts for cell in cells.values() for facts in cell.values()]
    return sorted({own["batch"] for own in facts if own["measure"] == "latency"})


def _more(cells: Cells) -> str:
    """One core, real lengths, several sessions, cost: what was asked for of these."""
    columns = {
        "edge p50": ("edge", "p50_ms", 3),
        "real p50": ("real_lengths 1", "p50_ms", 3),
        "real ×": ("real_lengths 1", "speedup", 2),
        "sessions": ("concurrency", "sessions", 0),
        "scaling": ("concurrency", "scaling", 2),
        "cost/M": ("throughput", "cost_per_million", 4),
    }
    table = _tabulated(list(cells), cells, columns)
    return table and (
        f"{table}\nedge: one core; real: histories of real users at batch 1; scaling: throughput "
        "of the sessions\nside by side against one"
    )


def _tabulated(names: list[str], cells: Cells, columns: dict[str, tuple[str, str, int]]) -> str:
    """A row a cell, without the columns of which nothing was measured.

    Args:
        names: of the rows.
        cells: the facts.
        columns: of each title the measure, the fact in it, and the digits after the point.
    """
    filled = {}
    for title, (measure, key, digits) in columns.items():
        values = [_figure(_facts(cell, measure).get(key), key, digits) for cell in cells.values()]
        if any(value != NOTHING for value in values):
            filled[title] = values
    if not filled:
        return ""
    header = ["cell", *filled]
    rows = [list(row) for row in zip(names, *filled.values(), strict=True)]
    return tabulate(rows, header, disable_numparse=True, colalign=_alignment(header))


def _facts(cell: dict[str, Facts], measure: str) -> Facts:
    return next(iter(cell.values())) if measure == ANY else cell.get(measure, {})


def _sustained(run: Run) -> str:
    lines = []
    for benchmark in run["benchmarks"]:
        facts = benchmark["extra_info"]
        if facts["measure"] == "sustained":
            lines.append(
                f"sustained: {facts['calls']:,} calls in {facts['seconds']} s; the last sixth took "
                f"{facts['slowdown']:.3f} times as long a call as the first"
            )
    return "\n".join(lines)


def _served(run: Run) -> str:
    """The loads on a server, the server's own times beside the client's, and ratios of two."""
    all_facts = [benchmark["extra_info"] for benchmark in run["benchmarks"]]
    loads = [facts for facts in all_facts if facts["measure"] == f"{SERVED} load"]
    ratios = [facts for facts in all_facts if facts["measure"] == f"{SERVED} ratio"]
    lines = [
        f"{facts['served']} against {facts['against']}, {facts['load']}: {_ratio(facts['ratio'])} "
        f"[{facts['ratio']['low']:.2f}, {facts['ratio']['high']:.2f}] times the throughput"
        for facts in ratios
    ]
    table = ""
    if loads:
        header = ["served", "load", "seq/s", "p50", "p99", "mean", "queue", "compute"]
        rows = [_load(facts) for facts in loads]
        table = tabulate(rows, header, disable_numparse=True, colalign=["left"] * 2 + ["right"] * 6)
        table += "\nms a request: p50, p99 and mean at the client; queue and compute in the server"
    return "\n\n".join(filter(None, (table, _requests(all_facts), "\n".join(lines))))


def _requests(all_facts: list[Facts]) -> str:
    """The loads on the HTTP server, as its clients saw them."""
    loads = [facts for facts in all_facts if facts["measure"] == f"{SERVED} requests"]
    if not loads:
        return ""
    header = ["served", "client", "load", "req/s", "p50", "p99", "late", "failed"]
    rows = []
    for facts in loads:
        result = facts["result"]
        late = result["late_mean_ms"]
        figures = (result["latency"]["p50_ms"], result["latency"]["p99_ms"], late)
        mark = " !" if result["client_bound"] else ""
        row = [facts["served"], facts["client"], facts["load"], f"{result['rate']:,.0f}{mark}"]
        row += [NOTHING if one is None else f"{one:.2f}" for one in figures]
        rows.append([*row, ", ".join(f"{n:,} {kind}" for kind, n in result["errors"].items())])
    table = tabulate(rows, header, disable_numparse=True, colalign=["left"] * 3 + ["right"] * 5)
    return (
        f"{table}\nms a request: p50, p99, and late: by how much the client sent it too late, on "
        "average;\n!: the client was busy or late, and may be what limits the figure"
    )


def _load(facts: Facts) -> list[str]:
    figures = facts["figures"]
    compute = sum(figures[f"compute_{part}_us"] for part in ("input", "infer", "output"))
    times = (*(figures[f"{name}_us"] for name in ("p50", "p99", "latency", "queue")), compute)
    row = [f"{facts['served']} {facts['protocol']}", facts["load"]]
    return [*row, f"{figures['inferences_per_s']:,.0f}", *(f"{time / 1e3:.2f}" for time in times)]


def _measure(facts: Facts) -> str:
    kind = str(facts["measure"])
    if kind == "accuracy":
        return f"accuracy {facts['split']}"
    return f"{kind} {facts['batch']}" if kind in ("latency", "real_lengths") else kind


def _legend(cells: Cells, baseline: str) -> str:
    lines = ["", f"* baseline {baseline}; {NOTHING}: not measured, or too few calls"]
    if any("budget" in cell for cell in cells.values()):
        lines.append(
            "Δ %: change of NDCG@10 against the baseline, over each user's validation and test item"
        )
    if any("agreement" in cell for cell in cells.values()):
        lines.append("top 10: the share of torch's best ten that is among its own")
    if _batches(cells):
        lines.append(
            "×bN: times as fast as the baseline at batch N, from pairs in one loop; "
            f"{UNTOLD}: may be 1 (99 %)"
        )
    return "\n".join(lines)


def _alignment(header: list[str]) -> list[str]:
    return ["left" if name in ("cell", "ran on") else "right" for name in header]


def _figure(value: Any, key: str, digits: int) -> str:
    """A figure, an estimate's value or a proof of use; a dash where there is none."""
    if value is None:
        return NOTHING
    if key == "placement":
        return _placement(value)
    if key == "speedup":
        return _ratio(value)
    if key == "ndcg_change":
        return f"{100 * value['value']:+.{digits}f}"
    if isinstance(value, dict):
        value = value["ndcg"]["value"] if "ndcg" in value else value["value"]
    return f"{value / 1e6 if key.endswith('_bytes') else value:,.{digits}f}"


def _ratio(estimate: dict[str, float]) -> str:
    """A speed-up, marked where its interval does not tell it from 1."""
    same = estimate["low"] <= 1 <= estimate["high"]
    return f"{estimate['value']:.2f}{UNTOLD if same else ''}"


def _placement(nodes: dict[str, int]) -> str:
    """The proof of use: "OpenVINO 1/1" when all nodes ran there."""
    total = sum(nodes.values())
    return ", ".join(f"{name} {count}/{total}" for name, count in nodes.items())


def _unmeasured(about: dict[str, Any]) -> list[str]:
    """Failed and skipped cells with their reasons, and pairs that make no sense."""
    lists = []
    for outcome in ("failed", "skipped"):
        reasons: dict[str, list[str]] = defaultdict(list)
        for entry in about["outcomes"]:
            if entry["outcome"] == outcome:
                cell = f"{entry['variant']}-{entry['provider']}"
                label = cell if outcome == "skipped" else entry["test"]
                if label not in reasons[entry["reason"]]:
                    reasons[entry["reason"]].append(label)
        if reasons:
            lines = [f"  {', '.join(names)}: {reason}" for reason, names in reasons.items()]
            lists.append("\n".join([f"{outcome}:", *lines]))
    if about["not_applicable"]:
        lists.append("not applicable: " + ", ".join(about["not_applicable"]))
    return lists
