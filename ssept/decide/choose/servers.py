"""Servers of a saved comparison as candidates, each with the cell that it serves."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ssept.decide.choose.candidates import Candidate, Goal, Promises
from ssept.decide.choose.ranking import Recommendation, choose
from ssept.errors import SseptError
from ssept.results.cells import Combination, MatrixRun
from ssept.results.schema import EMPTY, Budget, Facts, ServedRate


def choose_server(
    run: MatrixRun, promises: Promises, others: Sequence[MatrixRun] = ()
) -> Recommendation:
    """Choose among the servers of a run, with what runs say of the accuracy of their cells.

    Args:
        run: of servers.
        promises: that must not be broken.
        others: of the matrix, on any machine.

    Raises:
        SseptError: the run has no servers, too few rounds to tell them apart, or a longer promise
            of p99; or another one is not of its model and data.
    """
    found = [each for each in run.facts if isinstance(each, ServedRate) and each.server != EMPTY]
    if not found:
        raise SseptError(f"{run.path}: contains no servers; expected a run of `tox -e servers`")
    limit_ms = found[0].limit_ms
    if promises.p99_ms is not None and promises.p99_ms < limit_ms:
        raise SseptError(
            f"{run.path}: measured for p99 within {limit_ms:g} ms; for {promises.p99_ms:g} ms "
            f"expected a run of `tox -e servers -- --p99-ms={promises.p99_ms:g}`"
        )
    known: list[Facts] = [*run.facts]
    for other in others:
        related = [facts for facts in other.facts if _of(facts) == _of(found[0])]
        if not related:
            raise SseptError(
                f"{other.path}: contains no cells of the checkpoint and data of {run.path}; "
                "expected a run of the same model and data"
            )
        known += related
    if not any(facts.ratio_interval for facts in found) and any(facts.rate for facts in found):
        raise SseptError(
            f"{run.path}: too few rounds to tell servers apart: expected 4 or more; measure "
            "longer, with --server-minutes"
        )
    candidates = [_candidate(facts, known) for facts in found]
    return choose(candidates, Goal.REQUESTS, replace(promises, p99_ms=None))


def _of(facts: Facts) -> tuple[str, str]:
    return facts.checkpoint_sha256, facts.data_hash


def _candidate(facts: ServedRate, known: Sequence[Facts]) -> Candidate:
    budgets = [
        each.ndcg_change
        for each in known
        if isinstance(each, Budget) and _settings(each) == _settings(facts)
    ]
    return Candidate(
        cell=Combination(facts.variant, facts.provider),
        threads=facts.threads,
        batch=1,
        size_bytes=facts.size_bytes,
        ndcg_change=budgets[0] if budgets else None,
        memory_bytes=None if facts.rss_bytes is None else int(facts.rss_bytes),
        server=facts.server,
        limit_ms=facts.limit_ms,
        requests=facts.rate_interval,
        times=facts.ratio_interval,
        problem=_problem(facts),
    )


def _settings(facts: Facts) -> tuple[str, str, int, dict[str, Any]]:
    return facts.variant, facts.provider, facts.threads, facts.options


def _problem(facts: ServedRate) -> str:
    """Return why it cannot be chosen, which a fault in one round is enough for; empty if it can."""
    if facts.fault:
        return facts.fault
    if facts.rate is None:
        return f"never within {facts.limit_ms:g} ms"
    return "" if facts.ratio_interval else "too few rounds"
