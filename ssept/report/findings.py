"""Findings: common claims about quantization and providers, checked against saved runs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from ssept.decide.choose import Goal, Promises, recommend
from ssept.decide.choose.candidates import DEFAULT_LOSS
from ssept.decide.choose.saved import batches_of
from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.report.choose import sentence
from ssept.report.text import BYTES_PER_MEGABYTE, how_intervals_were_made
from ssept.results.cells import MatrixRun
from ssept.results.schema import LATENCY, Budget, Timed
from ssept.variants import BASELINE

DYNAMIC, AGGRESSIVE = "quant_dynamic", "quant_static_aggressive"
MODEST = 1.5  # a speed-up of less than this is a modest one
MUCH = 1.1  # providers that differ by more than this differ much
EDGE_PROVIDER = "cpu"  # small boards have no other


@dataclass(frozen=True)
class Claim:
    """A claim, and what runs say of it.

    Attributes:
        question: in plain words.
        verdict: "confirmed", "refuted", or what else the figures say.
        evidence: paragraphs and tables.
    """

    question: str
    verdict: str
    evidence: Sequence[str]


def findings_markdown(runs: Sequence[MatrixRun], command: str) -> str:
    """Return what runs say of each claim, with machine, file and command.

    Args:
        runs: of the matrix; each is judged by itself.
        command: that made this page.
    """
    parts = [
        "# Findings",
        "This page checks common claims about quantization and execution providers against "
        "saved runs. A ratio says how many times as fast as the FP32 export `onnx` a variant is "
        f"on the same provider, and has a 99 % interval. `{command}` writes this page.",
    ]
    for run in runs:
        parts.append(_about(run))
        for claim in _claims(run):
            parts += [f"### {claim.question}", f"**{claim.verdict}**", *claim.evidence]
    return "\n\n".join(parts) + "\n"


def _claims(run: MatrixRun) -> Iterator[Claim]:
    yield _faster_and_smaller(run)
    yield _slower_but_smaller(run)
    yield _accurate(run)
    yield _providers(run)
    yield _which(run)


def _about(run: MatrixRun) -> str:
    machine = run.content.machine_info
    cpu = "an unknown CPU"
    if machine and machine.cpu and machine.cpu.brand_raw:
        cpu = f"{machine.cpu.brand_raw}, {machine.cpu.count} CPUs"
    checkpoint = next((each.checkpoint for each in run.facts if each.checkpoint), "a model")
    return (
        f"## {checkpoint} on {cpu}\n\n`{run.path.name}`, commit {run.commit}, "
        f"{run.content.datetime[:10]}. {how_intervals_were_made(run)}"
    )


def _faster_and_smaller(run: MatrixRun) -> Claim:
    question = "Does dynamic quantization make the model a little faster and the file smaller?"
    ratios = list(_against_export(run, DYNAMIC))
    if not ratios:
        return _missing(question, DYNAMIC)
    share = _size_share(run, DYNAMIC)
    faster = sum(each.ratio.low > 1 for each in ratios)
    modest = all(each.ratio.value < MODEST for each in ratios)
    if faster == len(ratios) and modest and share < 1:
        verdict = "Confirmed."
    elif faster == 0:
        verdict = "Refuted here: it is faster in no cell."
    else:
        where = "in none" if modest else "in some"
        verdict = (
            f"It is faster in {faster} of {len(ratios)} cells, {where} by a factor of {MODEST} or "
            "more."
        )
    size = f"The file has {percent(share, '.0f')} of the size of the FP32 export."
    return Claim(question, verdict, [size, _table(ratios)])


def _slower_but_smaller(run: MatrixRun) -> Claim:
    question = "Is aggressive static quantization slower, and what does it save?"
    ratios = list(_against_export(run, AGGRESSIVE))
    if not ratios:
        return _missing(question, AGGRESSIVE)
    slower = sum(each.ratio.high < 1 for each in ratios)
    verdict = f"It is slower in {slower} of {len(ratios)} cells"
    share = _size_share(run, AGGRESSIVE)
    return Claim(
        question,
        f"{verdict}. The file has {percent(share, '.0f')} of the size of the FP32 export.",
        [
            _table(ratios),
            "A provider can fuse the QuantizeLinear and DequantizeLinear operators with the "
            "product between them. Where it does not, all values pass through these operators, "
            "which takes time. `models/manifest.json` lists the operators of each file.",
        ],
    )


def _accurate(run: MatrixRun) -> Claim:
    question = "Do all variants keep their accuracy?"
    changes = [
        (each, each.ndcg_change, each.max_ndcg_loss)
        for each in run.facts
        if isinstance(each, Budget) and each.max_ndcg_loss is not None
    ]
    if not changes:
        return _missing(question, "test_budget")
    lost = sum(change.low < -allowed for _, change, allowed in changes)
    verdict = f"{lost} do not." if lost else "Confirmed: each one stays within its budget."
    rows = [
        (
            f"{facts.variant}-{facts.provider}",
            percent(change.value, "+.2f"),
            f"{100 * change.low:+.2f} to {100 * change.high:+.2f}",
            percent(-allowed, "+.1f"),
        )
        for facts, change, allowed in changes
    ]
    header = ("cell", "change of NDCG@10", "90 % interval, %", "budget")
    return Claim(question, verdict, [tabulate(rows, header, tablefmt="github")])


def _providers(run: MatrixRun) -> Claim:
    question = "Does the choice of the provider matter much?"
    rows, far = [], 0
    for batch in batches_of(run):
        timed = [each for each in _latencies(run) if each.batch == batch and each.speedup]
        for variant in dict.fromkeys(each.variant for each in timed):
            own = [(each.speedup, each.provider) for each in timed if each.variant == variant]
            if len(own) < 2:
                continue
            own.sort(key=lambda pair: pair[0].value if pair[0] else 0.0)
            (slow, slowest), *_, (fast, fastest) = own
            assert slow
            assert fast
            ratio = _quotient(fast, slow)
            far += ratio.low > MUCH
            rows.append((variant, batch, fastest, slowest, _interval(ratio)))
    if not rows:
        return _missing(question, "a second provider of a variant")
    verdict = (
        f"The fastest provider is more than {MUCH - 1:.0%} faster than the slowest in {far} of "
        f"{len(rows)} comparisons."
    )
    header = ("variant", "batch", "fastest", "slowest", "fastest / slowest")
    table = tabulate(rows, header, tablefmt="github")
    return Claim(question, verdict, [table, "TensorRT and CUDA were never run."])


def _which(run: MatrixRun) -> Claim:
    question = "Which variant should I deploy?"
    batches = batches_of(run)
    if not batches:
        return _missing(question, "test_latency")
    promises = Promises(max_accuracy_loss=DEFAULT_LOSS)
    lines = [
        f"- {what}: {sentence(recommend(run, goal, promises, batches[0]))}"
        for what, goal in (
            ("Requests one by one", Goal.LATENCY),
            ("Large batches", Goal.THROUGHPUT),
            ("The least storage", Goal.SIZE),
        )
    ]
    on_board = [each for each in run.facts if each.provider == EDGE_PROVIDER]
    smallest = min(on_board, key=lambda each: each.size_bytes, default=None)
    if smallest:
        size = smallest.size_bytes / BYTES_PER_MEGABYTE
        lines.append(
            f"- A small board that has only ONNX Runtime's CPU provider: {smallest.variant} is the "
            f"smallest file, {size:.2f} MB."
        )
    return Claim(question, "It depends on what you need:", ["\n".join(lines)])


@dataclass(frozen=True)
class _Ratio:
    provider: str
    batch: int
    ratio: Estimate


def _against_export(run: MatrixRun, variant: str) -> Iterator[_Ratio]:
    """Compare a variant with the FP32 export on the same provider, at each batch size."""
    timed = list(_latencies(run))
    export = {(each.provider, each.batch): each for each in timed if each.variant == BASELINE}
    for each in timed:
        base = export.get((each.provider, each.batch))
        if each.variant == variant and each.speedup and base and base.speedup:
            yield _Ratio(each.provider, each.batch, _quotient(each.speedup, base.speedup))


def _latencies(run: MatrixRun) -> Iterable[Timed]:
    return (each for each in run.facts if isinstance(each, Timed) and each.measure == LATENCY)


def _quotient(one: Estimate, other: Estimate) -> Estimate:
    """Divide two ratios to the same baseline, of sessions that are independent of each other."""
    value = math.log(one.value / other.value)
    low = math.hypot(math.log(one.value / one.low), math.log(other.high / other.value))
    high = math.hypot(math.log(one.high / one.value), math.log(other.value / other.low))
    return Estimate(value, value - low, value + high).map(math.exp)


def _size_share(run: MatrixRun, variant: str) -> float:
    """Return a variant's bytes as a share of the FP32 export's."""

    def size(name: str) -> int:
        return next(each.size_bytes for each in run.facts if each.variant == name)

    return size(variant) / size(BASELINE)


def _table(ratios: Sequence[_Ratio]) -> str:
    rows = [(each.provider, each.batch, _interval(each.ratio)) for each in ratios]
    return tabulate(rows, ("provider", "batch", "times as fast as `onnx`"), tablefmt="github")


def _interval(ratio: Estimate) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _missing(question: str, what: str) -> Claim:
    return Claim(question, "Not answered.", [f"The run contains no measurement of {what}."])
