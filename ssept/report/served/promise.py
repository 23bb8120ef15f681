"""Reports of a promise's check, for the terminal, as Markdown and as JSON."""

import math
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from ssept.decide.promise.run import Look, PromiseResult
from ssept.estimate import Estimate
from ssept.percent import percent
from ssept.report.text import filled

HEADER = ("measured", "requests", "worth", "p99, ms", "interval", "failed", "client late, ms")
FRESH = "fresh"


def sentence(result: PromiseResult) -> str:
    """Return the verdict and what it rests on, in a sentence."""
    plan, tail = result.plan, result.tail
    parts = [
        f"{result.answer.value.capitalize()}: p99 is {_ms(tail.p99_ms.value)} ms "
        f"[{_ms(tail.p99_ms.low)}, {_ms(tail.p99_ms.high)}] at {plan.rate:g} requests a second; "
        f"at most {plan.p99_ms:g} ms were promised"
    ]
    if result.why:
        parts.append(result.why)
    return "; ".join(parts) + "."


def promise_text(result: PromiseResult) -> str:
    """Return the sentence and the looks, at most 100 columns wide."""
    parts = [filled(sentence(result)), _table(result, "simple"), filled(_legend(result))]
    return "\n\n".join(parts)


def promise_markdown(result: PromiseResult, server: str) -> str:
    """Return the report for a pull request.

    Args:
        result: of the check.
        server: its URL.
    """
    parts = [
        f"### ssept promise: {result.answer.value}",
        f"`{server}`: {sentence(result)}",
        "<details><summary>Looks</summary>",
        _table(result, "github"),
        _legend(result),
        "</details>",
    ]
    return "\n\n".join(parts) + "\n"


def promise_json(result: PromiseResult, server: str, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return all of it as plain JSON values.

    Args:
        result: of the check.
        server: its URL.
        machine: the client's, see `ssept.measure.machine`.
    """
    found = {"server": server, "sentence": sentence(result), "machine": dict(machine)}
    return found | result.as_json()


def _table(result: PromiseResult, style: str) -> str:
    rows = [_row(result, look) for look in result.looks]
    alignment = ["right"] * len(HEADER)
    return tabulate(rows, HEADER, tablefmt=style, disable_numparse=True, colalign=alignment)


def _row(result: PromiseResult, look: Look) -> list[str]:
    seconds = f"{look.blocks * result.plan.block_seconds:g} s"
    return [
        f"{FRESH} {seconds}" if look.confirmation else seconds,
        f"{look.tail.requests:,}",
        f"{look.tail.worth:,}",
        _ms(look.tail.p99_ms.value),
        _interval(look.tail.p99_ms),
        f"{look.failed:,}",
        _ms(look.late_p99_ms),
    ]


def _legend(result: PromiseResult) -> str:
    plan = result.plan
    return (
        f"p99: of all requests so far, with its {percent(1 - plan.alpha / plan.looks, '.4g')} "
        "distribution-free interval; worth: as many independent requests say as much, since slow "
        f"requests come together; {FRESH}: the confirmation, by fresh requests alone; client late: "
        "the 99th percentile of how late requests were sent. Planned for a wrong verdict in at "
        f"most {percent(plan.alpha)} of checks."
    )


def _interval(ms: Estimate) -> str:
    return f"{_ms(ms.low)} to {_ms(ms.high)}"


def _ms(value: float) -> str:
    """Write milliseconds with three digits; ? where nothing bounds them."""
    return f"{value:.3g}" if math.isfinite(value) else "?"
