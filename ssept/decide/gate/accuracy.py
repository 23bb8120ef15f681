"""Accuracy and size of both sides' models, with the same users ranked by both."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ssept.data.dataset import Cases, Dataset
from ssept.decide.gate.findings import Finding, Measure, Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sequential_test import holm
from ssept.decide.gate.workers.handle import WorkerError, WorkerHandle, WorkerPair
from ssept.decide.gate.workers.prepare import (
    BASE,
    HEAD,
    ROLES,
    Prepared,
    SideModel,
    VariantOnProvider,
)
from ssept.decide.user_accuracy import CONFIDENCE, TOP_K, user_ndcg
from ssept.estimate import Estimate
from ssept.metrics import FloatArray, IntArray, bootstrap_relative_change

P_VALUE = "p"
RESAMPLES = 10_000
LEVEL = (1 - CONFIDENCE) / 2  # the loss is on one side


def compare_accuracy(
    prepared: Prepared,
    each: VariantOnProvider,
    dataset: Dataset,
    cases: list[Cases],
    tolerance: float,
    plan: GatePlan,
) -> Finding:
    """Compare NDCG@10 of a variant on a provider, full ranking, in workers of both sides.

    A user's figure is the mean over the validation and the test item.

    Args:
        prepared: with the models.
        each: the variant and the provider.
        dataset: that the models were trained on.
        cases: the users to rank for, of each split.
        tolerance: the share of the base's NDCG@10 that may be lost.
        plan: for its time limits.
    """
    name = "-".join(each)
    models = prepared.models[each]
    if problems := [
        problem for role in ROLES if (problem := _foreign(role, models[role], dataset))
    ]:
        return Finding(name, Measure.NDCG, Verdict.UNMEASURED, tolerance, why="; ".join(problems))
    try:
        with WorkerPair(prepared.sides) as pair:
            base, head = (
                _figures(
                    pair.workers[role], prepared.request(role, *each), cases, models[role], plan
                )
                for role in ROLES
            )
    except WorkerError as error:
        return Finding(name, Measure.NDCG, Verdict.UNMEASURED, tolerance, why=str(error))
    return judge_accuracy(name, base, head, tolerance)


def judge_accuracy(name: str, base: FloatArray, head: FloatArray, tolerance: float) -> Finding:
    """Judge the NDCG@10 of the same users in the same order, float64[n] each.

    Regressed where the whole paired bootstrap interval of the relative change lies beyond the
    tolerance: other users would show a loss larger than that too. Fine where it lies above the
    tolerated loss. A loss of exactly the tolerance is called either in 1 % of cases at most.
    Of several findings, `hold_level` decides which of the losses stand.
    """
    details = {"users": len(base), BASE: float(base.mean()), HEAD: float(head.mean())}
    if not base.any() and head.any():
        why = f"no target is among base's {TOP_K} best of any user: nothing to compare with"
        return Finding(name, Measure.NDCG, Verdict.UNMEASURED, tolerance, None, why, details)
    change = bootstrap_relative_change(base, head, confidence=CONFIDENCE, resamples=RESAMPLES)
    details[P_VALUE] = _p_lost(base, head, tolerance)
    verdict, why = Verdict.INCONCLUSIVE, f"{len(base)} users are too few for a verdict"
    if change.high < -tolerance:
        verdict, why = Verdict.REGRESSED, f"{base.mean():.4f} to {head.mean():.4f}"
    elif change.low > -tolerance:
        verdict, why = Verdict.FINE, ""
    return Finding(name, Measure.NDCG, verdict, tolerance, change, why, details)


def hold_level(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with the losses that Holm's procedure over all of them rejects too.

    Each model is one more chance of a false alarm, so the level is shared among all that were
    compared; a loss that this does not confirm is inconclusive.
    """
    p = {
        finding.cell: finding.details[P_VALUE] for finding in findings if P_VALUE in finding.details
    }
    rejected = holm(p, LEVEL)
    why = f"a loss among {len(p)} comparisons is not yet certain at {LEVEL:.0%} over all of them"
    return [
        replace(finding, verdict=Verdict.INCONCLUSIVE, why=why)
        if finding.verdict is Verdict.REGRESSED and finding.cell not in rejected
        else finding
        for finding in findings
    ]


def _p_lost(base: FloatArray, head: FloatArray, tolerance: float) -> float:
    """Return the p-value of "no more than the tolerance is lost": a paired t-test, one-sided.

    A loss beyond it is a mean of head - (1 - tolerance) * base below 0.
    """
    beyond = head - (1 - tolerance) * base
    if np.ptp(beyond) == 0:
        return 0.0 if beyond[0] < 0 else 1.0
    return float(stats.ttest_1samp(beyond, 0.0, alternative="less").pvalue)


def compare_size(
    each: VariantOnProvider, models: dict[str, SideModel], tolerance: float
) -> Finding:
    """Compare the sizes of both sides' model files."""
    base, head = (models[role].size_bytes for role in ROLES)
    change = head / base - 1
    verdict = Verdict.REGRESSED if change > tolerance else Verdict.FINE
    why = f"{base / 1e6:.2f} to {head / 1e6:.2f} MB" if head != base else ""
    exact = Estimate(change, change, change)
    details = {BASE: base, HEAD: head}
    return Finding("-".join(each), Measure.SIZE, verdict, tolerance, exact, why, details)


def _foreign(role: str, model: SideModel, dataset: Dataset) -> str | None:
    """Say why these data do not fit a model; None if they do."""
    if model.items == dataset.items and model.data_hash in ("", dataset.data_hash):
        return None
    return (
        f"{role}: {model.file} was not trained on the data in {dataset.folder}: give its data with "
        "--data-dir, or --no-accuracy"
    )


def _figures(
    worker: WorkerHandle,
    request: dict[str, Any],
    cases: list[Cases],
    model: SideModel,
    plan: GatePlan,
) -> FloatArray:
    """Return each user's NDCG@10, float64[users], from the scores of a worker."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, out = Path(folder) / "inputs.npz", Path(folder) / "scores.npy"

        def scores(user: IntArray, sequence: IntArray) -> Any:
            np.savez(inputs, user=user, sequence=sequence)
            files = {"inputs": str(inputs), "out": str(out)}
            worker.ask("scores", plan.start_limit_s, **request, **files)
            return np.load(out)

        try:
            return user_ndcg(scores, cases, model.max_length)
        except ValueError as error:  # scores that are no numbers, or of another shape
            raise WorkerError(f"{worker.role}: {model.file}: {error}") from error
