"""The answer of a choice: a sentence, and a table of what it rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from ssept.decide.choose import Candidate, Goal, Promises, Recommendation, recommend
from ssept.decide.choose.candidates import DEFAULT_LOSS
from ssept.decide.choose.saved import batches_of
from ssept.errors import one_line
from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.report.text import BYTES_PER_MEGABYTE, NOTHING, filled
from ssept.results.cells import MatrixRun
from ssept.results.schema import EMPTY, ServedRate

SCHEMA = 1
SHOWN_ROWS = 8
NOTE_WIDTH, CELL_WIDTH = 30, 27
SERVER_NOTE_WIDTH = 14  # beside longer names, and more figures
CELL_LEGEND = (
    "speed: sequences a second relative to the baseline's (onnx on cpu at the same batch size, "
    "or at its best one where batch sizes compete), with its 99 % interval; NDCG@10: change; "
    "memory: peak of the process, in MB."
)
SERVER_LEGEND = (
    "requests/s: with 99 % answered within the promise and none failed, in 4 of 5 loads; times: as "
    "many as the fastest, in the same rounds, with the 99 % interval; NDCG@10: change; memory: of "
    "the server's processes under load, in MB."
)


def sentence(found: Recommendation) -> str:
    """Return what to deploy and why, in a sentence or two."""
    chosen = found.chosen
    if chosen is None:
        return _none(found)
    parts = [f"Deploy {_named(chosen)}: {', '.join(_figures(chosen))}."]
    if found.tied > 1 and found.settled:
        parts.append(_tie(found))
    if not found.settled:
        parts.append(
            f"Not settled: the time limit was reached with {found.tied} cells still in the race; "
            "increase --max-minutes."
        )
    parts += [f"Not shown to be kept: {one}." for one in found.unshown]
    return " ".join(parts)


def answers(run: MatrixRun) -> str:
    """Return what a run of several cells or servers recommends, or nothing.

    Of cells for latency and for throughput; at most `DEFAULT_LOSS` of the accuracy may be lost.
    """
    batches = batches_of(run)
    promises = Promises(max_accuracy_loss=DEFAULT_LOSS)
    intervals = [each for each in run.facts if isinstance(each, ServedRate) and each.ratio_interval]
    if sum(each.server != EMPTY for each in intervals) > 1:
        return filled(sentence(recommend(run, Goal.REQUESTS, promises)))
    if not batches or len({(each.variant, each.provider) for each in run.facts}) < 2:
        return ""
    goals = {Goal.LATENCY: True, Goal.THROUGHPUT: len(batches) > 1}
    return "\n".join(
        filled(f"For {goal.value}: {sentence(recommend(run, goal, promises, batches[0]))}")
        for goal, asked in goals.items()
        if asked
    )


def choice_text(
    found: Recommendation, left_out: Mapping[str, str] | None = None, *, full: bool = False
) -> str:
    """Return the sentence, and the table, at most 100 columns wide.

    Args:
        found: a choice.
        left_out: why others were not looked at, by name.
        full: whether to show all candidates and all reasons.
    """
    shown = found.ranked if full else found.ranked[:SHOWN_ROWS]
    known = choice_columns(found, shown)
    widths = (
        {"cell": CELL_WIDTH, "": SERVER_NOTE_WIDTH} if _is_of_servers(found) else {"": NOTE_WIDTH}
    )
    table = tabulate(
        known,
        headers="keys",
        maxcolwidths=[widths.get(name) for name in known],
        colalign=["left" if name in ("cell", "") else "right" for name in known],
        disable_numparse=True,
    )
    more = []
    if hidden := len(found.ranked) - len(shown):
        more.append(f"{hidden} more cells: --full shows them.")
    if left_out and full:
        more += [f"left out: {name}: {one_line(why, 200)}" for name, why in left_out.items()]
    elif left_out:
        more.append(f"left out: {', '.join(left_out)}; --full says why.")
    legend = SERVER_LEGEND if _is_of_servers(found) else CELL_LEGEND
    return "\n\n".join([filled(sentence(found)), table, filled(legend), *map(filled, more)])


def choice_columns(found: Recommendation, shown: Sequence[Candidate]) -> dict[str, list[str]]:
    """Return the columns of the table by title, without those of what was not measured.

    Args:
        found: a choice.
        shown: the first of its ranked candidates.
    """
    columns = {
        "cell": [each.name for each in shown],
        "requests/s": [
            f"{each.requests.value:,.0f}" if each.requests else NOTHING for each in shown
        ],
        "times": [_bounds(each.times) for each in shown],
        "speed": [_bounds(each.rate) for each in shown],
        "NDCG@10": [_change(each.ndcg_change) if each.ndcg_change else NOTHING for each in shown],
        "MB": [_size(each) for each in shown],
        "memory": [_megabytes(each.memory_bytes) for each in shown],
        "p50 ms": [_milliseconds(each.p50_ms) for each in shown],
        "p99 ms": [_milliseconds(each.p99_ms) for each in shown],
        "": [_note(place, each, found) for place, each in enumerate(shown, 1)],
    }
    return {name: column for name, column in columns.items() if {*column} - {NOTHING, ""}}


def choice_json(found: Recommendation, left_out: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the same as plain JSON values; what is not known or has no bound is null."""
    return {
        "schema": SCHEMA,
        "goal": found.goal.value,
        "promises": asdict(found.promises),
        "sentence": sentence(found),
        "chosen": found.chosen.name if found.chosen else None,
        "tied": [each.name for each in found.ranked[: found.tied]],
        "decided_by": found.decided_by.value if found.decided_by else None,
        "settled": found.settled,
        "not_shown": found.unshown,
        "ranked": [_finite(asdict(each)) | _broken(each, found) for each in found.ranked],
        "left_out": dict(left_out or {}),
    }


def _none(found: Recommendation) -> str:
    nearest = found.nearest
    if nearest is None:
        return "Nothing could be measured."
    missed = "; ".join(found.broken.get(nearest.name, []))
    if not missed:
        return "No cell was measured for this goal."
    return f"No cell keeps all promises. {_named(nearest)} is nearest: {missed}."


def _named(candidate: Candidate) -> str:
    variant, provider = candidate.cell
    threads = "1 thread" if candidate.threads == 1 else f"{candidate.threads} threads"
    if candidate.server:
        return f"{variant} on {provider} behind {candidate.server}"
    return f"{variant} on {provider} (batch {candidate.batch}, {threads})"


def _figures(candidate: Candidate) -> list[str]:
    found = []
    if candidate.requests and candidate.limit_ms:
        found.append(
            f"{_bounds(candidate.requests, ',.0f')} requests/s, 99 % answered within "
            f"{candidate.limit_ms:g} ms in 4 of 5 loads"
        )
    if candidate.rate:
        found.append(f"{_bounds(candidate.rate)} times the baseline's speed")
    if candidate.p50_ms:
        found.append(f"{candidate.p50_ms.value:.3g} ms a call")
    if candidate.ndcg_change:
        found.append(f"NDCG@10 {_change(candidate.ndcg_change)}")
    found.append(f"{candidate.size_bytes / BYTES_PER_MEGABYTE:.3g} MB")
    return found


def _tie(found: Recommendation) -> str:
    others = ", ".join(str(each.name) for each in found.ranked[1 : found.tied][:3])
    more = f" and {found.tied - 4} more" if found.tied > 4 else ""
    how = f"the {found.decided_by.value} decided" if found.decided_by else "their names decided"
    return f"It ties with {others}{more}: {how}."


def _is_of_servers(found: Recommendation) -> bool:
    return found.goal is Goal.REQUESTS


def _size(candidate: Candidate) -> str:
    """Write the size of the model file; that of a server's is small beside its memory."""
    return NOTHING if candidate.server else f"{candidate.size_bytes / BYTES_PER_MEGABYTE:.1f}"


def _milliseconds(time: Estimate | None) -> str:
    return f"{time.value:.3g}" if time else NOTHING


def _megabytes(size_bytes: int | None) -> str:
    return f"{size_bytes / BYTES_PER_MEGABYTE:.0f}" if size_bytes else NOTHING


def _note(place: int, candidate: Candidate, found: Recommendation) -> str:
    if candidate.problem:
        return one_line(
            candidate.problem, 3 * (SERVER_NOTE_WIDTH if candidate.server else NOTE_WIDTH)
        )
    if broken := found.broken.get(candidate.name):
        return "breaks: " + "; ".join(broken)
    if place <= found.tied:
        return "chosen" if place == 1 else "tied"
    return ""


def _bounds(estimate: Estimate | None, form: str = ".2f") -> str:
    if estimate is None:
        return NOTHING
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _change(change: Estimate) -> str:
    if change.low == change.high:
        return percent(change.value, "+.1f")
    if not math.isfinite(change.low):
        return f"{percent(change.value, '+.1f')} [?]"
    return f"{percent(change.value, '+.1f')} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def _broken(candidate: Candidate, found: Recommendation) -> dict[str, Any]:
    return {"name": candidate.name, "broken": found.broken.get(candidate.name, [])}


def _finite(value: Any) -> Any:
    """Return a value with null for what is infinite."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
