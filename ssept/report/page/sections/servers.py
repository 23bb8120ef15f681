"""Section 6: the model behind servers, and how much of its gain in process is left there."""

import math
from collections.abc import Sequence

from ssept.estimate import Estimate
from ssept.report.page.commands import rates_command, served_command
from ssept.report.page.content import Dots, Figure, Mark, Part, Row, Section
from ssept.report.page.material import LabelledRun, Material, interval, number
from ssept.report.text import BYTES_PER_MEGABYTE, NOTHING
from ssept.results.schema import (
    EMPTY,
    LATENCY,
    Benchmark,
    ServedLoad,
    ServedRate,
    ServedRatio,
    ServedRequests,
    Timed,
)

# Names of served models that are the baseline's: only against these a ratio is a gain of the model.
PLAIN = ("baseline", "plain_all_scores")
TIMES = "times the throughput"


def servers(material: Material) -> Section:
    """Return ratios of servers, and loads on them, of each run."""
    return Section(
        key="servers",
        title="Servers, and what is left of the model's gain",
        about="In process: the model is called directly. FastAPI: `ssept serve`. Triton: Triton "
        "Inference Server. A server adds its own work to each request, so a faster model gains "
        "less behind it.",
        parts=[part for run in material.runs if (part := _part(material, run)).figures],
        otherwise="tox -e fastapi -- --triton",
    )


def _part(material: Material, run: LabelledRun) -> Part:
    figures: list[Figure] = []
    if ratios := run.measured(ServedRatio):
        figures.append(_ratios(material, run, ratios))
    if requests := run.measured(ServedRequests):
        figures.append(_requests(requests))
    if loads := run.measured(ServedLoad):
        figures.append(_loads(loads))
    if rates := run.measured(ServedRate):
        figures.append(_rates(rates))
    return Part(heading=material.heading(run), figures=figures)


def _rates(rates: Sequence[tuple[Benchmark, ServedRate]]) -> Figure:
    found = sorted((facts for _, facts in rates), key=lambda facts: -(facts.rate or 0))
    marks = [
        Mark(
            variant=facts.variant,
            provider=facts.provider,
            label=facts.server,
            series="rate",
            value=facts.rate,
            low=facts.rate_interval.low if facts.rate_interval else None,
            high=facts.rate_interval.high if facts.rate_interval else None,
        )
        for facts in found
        if facts.rate and facts.server != EMPTY
    ]
    limit, against = found[0].limit_ms, found[0].against
    return Figure(
        title=f"Requests a second with 99 % answered within {limit:g} ms",
        columns=(
            *("server", "variant", "requests/s", f"times {against}", "CPU ms", "MB", "cold s"),
            *("in time at twice the rate", "failed"),
        ),
        rows=[_rate_row(facts) for facts in found],
        plot=Dots(marks=marks, axis="requests/s", log=True) if marks else None,
        note="None failed, in 4 of 5 loads of that rate; in brackets 99 % intervals. CPU: time of "
        "the server's processes for a request; MB: of their memory; cold: seconds to the first "
        "answer; failed: of all loads, refusals up to that rate only. !: the client was busy "
        "or late, and may be what limits the figure.",
        command=rates_command(found),
        method="servers",
    )


def _rate_row(facts: ServedRate) -> Row:
    failed = ", ".join(f"{n:,} × {kind}" for kind, n in facts.failed.items())
    variant = NOTHING if facts.server == EMPTY else facts.variant
    if facts.rate:
        shown = interval(facts.rate_interval) if facts.rate_interval else number(facts.rate)
        shown += " !" if facts.client_bound else ""
        times = interval(facts.ratio_interval) if facts.ratio_interval else number(facts.ratio)
    else:
        shown, times = facts.fault or f"never within {facts.limit_ms:g} ms", NOTHING
    cells = (
        *(facts.server, variant, shown, times, number(facts.cpu_ms)),
        *(number(facts.rss_bytes and facts.rss_bytes / BYTES_PER_MEGABYTE), number(facts.cold_s)),
        NOTHING if facts.overload is None else f"{facts.overload:.0%}",
        "; ".join(filter(None, (failed, facts.fault if facts.rate else ""))) or "none",
    )
    return Row(cells=cells, variant=facts.variant, provider=facts.provider)


def _ratios(
    material: Material, run: LabelledRun, ratios: Sequence[tuple[Benchmark, ServedRatio]]
) -> Figure:
    marks = [
        Mark(
            variant=facts.variant,
            provider=facts.provider,
            label=f"{facts.served} / {facts.against}|{facts.load}",
            series="ratio",
            value=facts.ratio.value,
            low=facts.ratio.low,
            high=facts.ratio.high,
        )
        for _, facts in ratios
    ]
    return Figure(
        title="Ratios of throughput behind servers",
        columns=("served", "against", "load", TIMES, "in process", "left of the gain"),
        rows=[_ratio_row(facts, _in_process(material, run, facts)) for _, facts in ratios],
        plot=Dots(marks=marks, axis=TIMES, log=True, reference=1),
        note="in process: the speed of the same variant on the provider cpu relative to the "
        "baseline at batch 1, from a run of the same checkpoint in this report; left of the gain: "
        "the ratio's logarithm divided by that of the one in process, where the other server has "
        f"the baseline's model. {NOTHING}: no such run, or not the baseline's model.",
        command=served_command([each for each, _ in ratios]),
        method="servers",
    )


def _in_process(material: Material, run: LabelledRun, served: ServedRatio) -> Estimate | None:
    """Find the speed of a served variant in process; of the same machine only."""
    if served.against not in PLAIN:
        return None
    for other in material.runs:
        for _, facts in other.measured(Timed, LATENCY):
            alike = (facts.variant, facts.provider, facts.batch) == (served.variant, "cpu", 1)
            same = facts.checkpoint_sha256 == served.checkpoint_sha256
            if alike and same and other.machine == run.machine and facts.speedup:
                return facts.speedup
    return None


def _ratio_row(facts: ServedRatio, in_process: Estimate | None) -> Row:
    left = NOTHING
    if in_process and in_process.low > 1:
        left = f"{math.log(facts.ratio.value) / math.log(in_process.value):.0%}"
    cells = (facts.served, facts.against, facts.load, interval(facts.ratio), interval(in_process))
    return Row(cells=(*cells, left), variant=facts.variant, provider=facts.provider)


def _requests(requests: Sequence[tuple[Benchmark, ServedRequests]]) -> Figure:
    rows = [
        Row(
            cells=(
                facts.served,
                facts.client,
                facts.load,
                f"{number(facts.result.rate)}{' !' if facts.result.client_bound else ''}",
                number(facts.result.latency.p50_ms),
                number(facts.result.latency.p99_ms),
                ", ".join(f"{n:,} × {kind}" for kind, n in facts.result.errors.items()) or "none",
            ),
            variant=facts.variant,
            provider=facts.provider,
        )
        for _, facts in requests
    ]
    marks = [
        _mark(facts, f"{facts.served}|{facts.client}: {facts.load}", name, value)
        for _, facts in requests
        for name, value in (
            ("p50", facts.result.latency.p50_ms),
            ("p99", facts.result.latency.p99_ms),
        )
        if value
    ]
    return Figure(
        title="Requests to the HTTP server, as its clients saw them",
        columns=("served", "client", "load", "requests/s", "p50 ms", "p99 ms", "failed"),
        rows=rows,
        plot=Dots(marks=marks, axis="ms a request", log=True) if marks else None,
        note="!: the client was busy or late, and may be what limits the figure. "
        "served “nothing”: an empty server, which shows what the client can do.",
        command=served_command([each for each, _ in requests]),
        method="servers",
    )


def _loads(loads: Sequence[tuple[Benchmark, ServedLoad]]) -> Figure:
    rows = [
        Row(
            cells=(
                f"{facts.served} {facts.protocol}",
                facts.load,
                number(own.inferences_per_s),
                *(f"{time / 1e3:.2f}" for time in (own.p50_us, own.p99_us, own.queue_us)),
                f"{_compute(facts) / 1e3:.2f}",
            ),
            variant=facts.variant,
            provider=facts.provider,
        )
        for _, facts in loads
        for own in (facts.figures,)
    ]
    marks = [
        _mark(facts, f"{facts.served} {facts.protocol}|{facts.load}", name, value / 1e3)
        for _, facts in loads
        for name, value in (
            ("queue", facts.figures.queue_us),
            ("compute", _compute(facts)),
            ("p50", facts.figures.p50_us),
            ("p99", facts.figures.p99_us),
        )
        if value
    ]
    return Figure(
        title="Loads of perf_analyzer, and the server's own account of a request",
        columns=("served", "load", "sequences/s", "p50 ms", "p99 ms", "queue ms", "compute ms"),
        rows=rows,
        plot=Dots(marks=marks, axis="ms a request", log=True) if marks else None,
        note="p50 and p99 at the client; queue and compute are means in the server.",
        command=served_command([each for each, _ in loads]),
        method="servers",
    )


def _compute(facts: ServedLoad) -> float:
    own = facts.figures
    return own.compute_input_us + own.compute_infer_us + own.compute_output_us


def _mark(facts: ServedLoad | ServedRequests, label: str, series: str, value: float) -> Mark:
    return Mark(
        variant=facts.variant, provider=facts.provider, label=label, series=series, value=value
    )
