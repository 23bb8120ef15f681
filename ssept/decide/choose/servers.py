"""Servers of a saved comparison as candidates, each with the cell that it serves."""

import math
from collections.abc import Sequence

from ssept.decide.choose.candidates import Candidate
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.results.cells import Combination, MatrixRun
from ssept.results.schema import EMPTY, Budget, Facts, ServedRate


def served_candidates(run: MatrixRun, others: Sequence[MatrixRun] = ()) -> list[Candidate]:
    """Return the servers of a run, with what it and others say of the accuracy of their cells.

    Args:
        run: of servers.
        others: of the matrix, on any machine.

    Raises:
        SseptError: the run has no servers, or another one is not of its model and data.
    """
    found = [facts for facts in run.facts if isinstance(facts, ServedRate)]
    if not found:
        raise SseptError(f"{run.path}: expected a run of servers (`tox -e servers`); it has none")
    known: list[Facts] = [*run.facts]
    for other in others:
        related = [facts for facts in other.facts if _of(facts) == _of(found[0])]
        if not related:
            raise SseptError(
                f"{other.path}: expected cells of the checkpoint and the data of {run.path}; it "
                "has none"
            )
        known += related
    # Ratios to one server are of the same rounds, and so distinguish more than the rates do.
    paired = all(facts.ratio for facts in found if facts.rate)
    return [_candidate(facts, known, paired) for facts in found if facts.server != EMPTY]


def _of(facts: Facts) -> tuple[str, str]:
    return facts.checkpoint_sha256, facts.data_hash


def _candidate(facts: ServedRate, known: Sequence[Facts], paired: bool) -> Candidate:
    cell = Combination(facts.variant, facts.provider)
    budgets = [
        each.ndcg_change
        for each in known
        if isinstance(each, Budget) and Combination(each.variant, each.provider) == cell
    ]
    return Candidate(
        cell=cell,
        threads=facts.threads,
        batch=1,
        size_bytes=facts.size_bytes,
        p99_ms=Estimate(facts.limit_ms, 0.0, facts.limit_ms),  # in 4 of 5 loads of that rate
        ndcg_change=budgets[0] if budgets else None,
        memory_bytes=None if facts.rss_bytes is None else int(facts.rss_bytes),
        server=facts.server,
        requests=_bounded(facts.rate, facts.rate_interval),
        against=facts.against if paired else "",
        times=_bounded(facts.ratio, facts.ratio_interval) if paired else None,
        problem=facts.fault or ("" if facts.rate else f"never within {facts.limit_ms:g} ms"),
    )


def _bounded(value: float | None, interval: Estimate | None) -> Estimate | None:
    """Return a value with its interval, which fewer rounds than that needs leave open."""
    if value is None:
        return None
    return interval or Estimate(value, 0.0, math.inf)
