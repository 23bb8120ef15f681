"""The summary of a run: a row a cell, accuracy beside latency; below, what was not measured."""

from collections import defaultdict
from typing import Any

from tabulate import tabulate

Run = dict[str, Any]
Facts = dict[str, Any]
Cells = dict[str, dict[str, Facts]]
NOTHING = "–"


def matrix_report(run: Run) -> str:
    """The table of a saved run and the lists below it, at most 100 columns wide.

    Args:
        run: the content of a results file.
    """
    cells = _cells(run)
    parts = [
        _table(cells, run["ssept"]["baseline"]),
        _more(cells),
        _sustained(run),
        *_unmeasured(run["ssept"]),
    ]
    parts = [part for part in parts if part]
    return "\n\n".join(parts)


def _cells(run: Run) -> Cells:
    """The facts of each cell by what they measure, in the order of the run."""
    cells: Cells = defaultdict(dict)
    for benchmark in run["benchmarks"]:
        facts = benchmark["extra_info"]
        cells[f"{facts['variant']}-{facts['provider']}"][_measure(facts)] = facts
    return cells


def _table(cells: Cells, baseline: str) -> str:
    if not cells:
        return ""
    batches = sorted(
        {f["batch"] for c in cells.values() for k, f in c.items() if k.startswith("latency")}
    )
    smallest = f"latency {batches[0]}" if batches else ""
    header = [
        "cell",
        "NDCG@10",
        "p50",
        "p95",
        "p99",
        *(f"×b{batch}" for batch in batches),
        "edge p50",
        "FPS",
        "MB",
        "ran on",
    ]
    rows = []
    for name, cell in cells.items():
        latency = cell.get(smallest, {})
        any_facts = next(iter(cell.values()))
        rows.append(
            [
                f"{name} *" if name == baseline else name,
                _number(cell.get("accuracy test", {}).get("full", {}).get("ndcg"), 4),
                *(_number(latency.get(f"p{q}_ms"), 2) for q in (50, 95, 99)),
                *(_number(cell.get(f"latency {b}", {}).get("speedup"), 2) for b in batches),
                _number(cell.get("edge", {}).get("p50_ms"), 2),
                _number(cell.get("throughput", {}).get("fps"), 0),
                _number(any_facts["size_bytes"] / 1e6, 1),
                _placement(any_facts["placement"]),
            ]
        )
    return tabulate(rows, header, disable_numparse=True, colalign=_alignment(header)) + _legend(
        batches, baseline
    )


def _more(cells: Cells) -> str:
    """What else decides: real lengths, several sessions, cold start, memory, cost."""
    figures = {
        "real p50": ("real_lengths 1", "p50_ms", 2),
        "real ×": ("real_lengths 1", "speedup", 2),
        "scaling": ("concurrency", "scaling", 2),
        "sessions": ("concurrency", "sessions", 0),
        "cold start s": ("footprint", "total_s", 2),
        "load s": ("footprint", "load_s", 2),
        "peak MB": ("footprint", "peak_rss_bytes", 0),
        "cost/M": ("throughput", "cost_per_million", 4),
    }
    columns = {
        title: [_scaled(cell.get(measure, {}).get(key), key, digits) for cell in cells.values()]
        for title, (measure, key, digits) in figures.items()
    }
    columns = {title: values for title, values in columns.items() if set(values) != {NOTHING}}
    if not columns:
        return ""
    header = ["cell", *columns]
    rows = [list(row) for row in zip(cells, *columns.values(), strict=True)]
    return tabulate(rows, header, disable_numparse=True, colalign=_alignment(header)) + (
        "\nreal: histories of real users at batch 1; scaling: throughput of several sessions "
        "against one"
    )


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


def _measure(facts: Facts) -> str:
    kind = str(facts["measure"])
    if kind == "accuracy":
        return f"accuracy {facts['split']}"
    return f"{kind} {facts['batch']}" if kind in ("latency", "real_lengths") else kind


def _legend(batches: list[int], baseline: str) -> str:
    lines = ["", f"* baseline {baseline}"]
    if batches:
        lines.append(
            f"p50 p95 p99: ms a call at batch {batches[0]}; ×bN: times as fast as the baseline at "
            "batch N,"
        )
        lines.append(f"from pairs in one loop; {NOTHING}: not measured, or too few calls for it")
    return "\n".join(lines)


def _alignment(header: list[str]) -> list[str]:
    return ["left" if name in ("cell", "ran on") else "right" for name in header]


def _number(value: Any, digits: int) -> str:
    """A figure or an estimate's value, or a dash where there is none."""
    if isinstance(value, dict):
        value = value["value"]
    return NOTHING if value is None else f"{value:,.{digits}f}"


def _scaled(value: Any, key: str, digits: int) -> str:
    return _number(value / 1e6 if value and key.endswith("_bytes") else value, digits)


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
