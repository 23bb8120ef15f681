"""Sweeps, from a plan to a file of results."""

import gc
from dataclasses import asdict
from pathlib import Path

from ssept.decide.journal import Record, provenance, utc_now
from ssept.decide.sweep.measure import MeasuredSets, SweepPlan
from ssept.decide.sweep.search import LayerSet, LayerTrial, Progress, Round, SweepResult, search
from ssept.decide.sweep.state import Measurements
from ssept.decide.user_accuracy import TOP_K
from ssept.files import sha256_json
from ssept.variants.sources import source_hash

BUILDERS = ("ssept.variants.fused", "ssept.variants.topk")


def run_sweep(plan: SweepPlan, path: Path, progress: Progress) -> SweepResult:
    """Search for the layers to store and multiply in INT8, as `ssept.decide.sweep.search` does.

    Args:
        plan: what is measured, and how.
        path: of the JSON file that keeps each measurement and, in the end, the result; one of an
            interrupted sweep with the same settings on the same machine is gone on with.
        progress: as `search` takes it.

    Raises:
        SseptError: a package is missing, the provider cannot run here, too few users have a hit,
            or the file is another's.
    """
    kept = Measurements(path, _about(plan))
    sets = MeasuredSets(plan, kept)
    # What is here stays: each timed loop starts with a collection, which would walk through torch.
    gc.freeze()
    try:
        found = search(sets, plan.max_loss, progress)
    finally:
        gc.unfreeze()
    kept.finish(_result(found, sets))
    return found


def _about(plan: SweepPlan) -> Record:
    return {
        "utc": utc_now(),
        **provenance(),
        "settings": {
            "checkpoint": plan.model.checkpoint,
            "checkpoint_sha256": plan.model.checkpoint_sha256,
            "data_hash": plan.dataset.data_hash,
            "users": plan.users,
            "provider": plan.provider,
            "batch_sizes": plan.batch_sizes,
            "threads": plan.threads,
            "seconds": plan.seconds,
            "k": TOP_K,
            "source": sha256_json([source_hash(builder) for builder in BUILDERS]),
        },
    }


def _result(found: SweepResult, sets: MeasuredSets) -> Record:
    """Return the result as plain JSON values, with sets in the order of the network."""

    def names(int8: LayerSet) -> list[str]:
        return [layer for layer in sets.layers if layer in int8]

    def round_(one: Round) -> Record:
        return {
            "start": names(one.start),
            "tried": [sets.name(trial.int8) for trial in one.trials],
            "lossy": [sets.name(int8) for int8 in one.lossy],
            "better": None if one.better is None else names(one.better),
        }

    return {
        "max_loss": found.max_loss,
        "layers": list(found.layers),
        "paying": [layer for layer, trial in found.alone.items() if trial.pays],
        "dropped": list(found.dropped),
        "rounds": [round_(one) for one in found.rounds],
        "settled": found.settled,
        "chosen": names(found.chosen.int8),
        "fp32": _trial(found.reference),
        "int8": _trial(found.chosen),
    }


def _trial(trial: LayerTrial) -> Record:
    ratios = {str(batch): asdict(ratio) for batch, ratio in trial.ratios.items()}
    return {**asdict(trial.file), "ratios": ratios, "speed": asdict(trial.speed)}
