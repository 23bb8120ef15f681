"""The report of a sweep for the terminal: its layers and the chosen set."""

from tabulate import tabulate

from ssept.decide.sweep.search import LayerSet, LayerTrial, SweepResult
from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.report.text import BYTES_PER_MEGABYTE, UNTOLD, filled, mark

ALL_FP32, CHOSEN_SET = "all in FP32", "the chosen set"
LEGEND = (
    "batch N: times as fast as all in FP32, from pairs of calls; "
    f"{UNTOLD}: may be 1, by an interval of 99 % for all layers together. The first row is FP32 "
    "against itself.",
    "NDCG@10: change from FP32 with its 98 % interval, over users.",
)


def sweep_table(found: SweepResult) -> str:
    """Return a table with a row for each layer alone and the chosen set, and a summary."""
    batches = list(found.reference.ratios)
    header = ("in INT8", *(f"batch {batch}" for batch in batches), "NDCG@10", "MB", "chosen")
    rows = [_row(ALL_FP32, found.reference, "")]
    for layer, trial in found.alone.items():
        rows.append(_row(layer, trial, "yes" if layer in found.chosen.int8 else "no"))
    rows.append(_row(CHOSEN_SET, found.chosen, ""))
    alignment = ("left", *("right" for _ in batches), "left", "right", "left")
    table = tabulate(rows, header, disable_numparse=True, colalign=alignment)
    texts = (*LEGEND, *_path(found), *_summary(found))
    return "\n".join([table, "", *(filled(text) for text in texts)])


def _row(name: str, trial: LayerTrial, chosen: str) -> list[str]:
    ratios = [f"{ratio.value:.2f}{mark(ratio) or ' '}" for ratio in trial.ratios.values()]
    megabytes = f"{trial.file.size_bytes / BYTES_PER_MEGABYTE:.2f}"
    return [name, *ratios, _change(trial.file.ndcg_change), megabytes, chosen]


def _change(change: Estimate) -> str:
    ends = f"[{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
    return f"{percent(change.value, '+.2f')} {ends}"


def _path(found: SweepResult) -> list[str]:
    """Describe the steps of the search from single layers to the chosen set."""
    paying = [layer for layer, trial in found.alone.items() if trial.pays]
    lines = [f"pay alone: {', '.join(paying) or 'none'}."]
    if found.dropped:
        lines.append(f"together they lose too much accuracy; removed: {', '.join(found.dropped)}.")
    for number, one in enumerate(found.rounds, 1):
        step = "no change pays" if one.better is None else _step(one.start, one.better)
        lines.append(f"round {number}: {step}.")
    if not found.settled:
        lines.append("stopped at the limit of rounds; the last one still found something better.")
    return lines


def _step(start: LayerSet, better: LayerSet) -> str:
    (layer,) = start ^ better
    return f"{layer} {'back to FP32' if layer in start else 'to INT8 too'}"


def _summary(found: SweepResult) -> list[str]:
    chosen, reference = found.chosen, found.reference
    names = [layer for layer in found.layers if layer in chosen.int8]
    ratios = [
        f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] times as fast at batch {batch}"
        for batch, ratio in chosen.ratios.items()
    ]
    size = percent(chosen.file.size_bytes / reference.file.size_bytes, ".0f")
    accuracy = (
        f"NDCG@10 {reference.file.ndcg:.4f} to {chosen.file.ndcg:.4f}, "
        f"{_change(chosen.file.ndcg_change)}, {percent(found.max_loss)} allowed"
    )
    return [
        f"chosen: {', '.join(names) or 'none, all stays in FP32'}",
        f"against FP32: {', '.join(ratios)}; {accuracy}; {size} of the size.",
    ]
