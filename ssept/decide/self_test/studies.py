"""Studies: trials in which the truth is known, so that a wrong verdict or interval shows as one."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ssept.data.dataset import load_dataset
from ssept.data.synthetic import prepared_synthetic
from ssept.decide.choose.kept import Kept
from ssept.decide.choose.race import Timing
from ssept.decide.choose.timing import Arm
from ssept.decide.gate.accuracy import judge_accuracy
from ssept.decide.gate.findings import Verdict
from ssept.decide.journal import Record
from ssept.decide.promise.run import Answer
from ssept.decide.self_test.comparison_trials import same_server, slower_server
from ssept.decide.self_test.race_trials import PASSES, all_cells
from ssept.decide.self_test.server_trials import (
    SLOWER,
    judged,
    served_promise,
    server_ratio,
    sleeping_promise,
)
from ssept.decide.sweep.measure import MeasuredSets, SweepPlan
from ssept.decide.sweep.search import geometric_mean
from ssept.decide.sweep.state import Measurements
from ssept.errors import SseptError
from ssept.measure.calls import CheckedCall, checked_recommend
from ssept.measure.latency import paired_times, session_times
from ssept.measure.settings import Settings
from ssept.measure.statistics import (
    paired_log_ratio,
    paired_ratio,
    session_ratio,
)
from ssept.metrics import FloatArray
from ssept.providers import PROVIDERS
from ssept.variants import BASELINE, build

TOP_K = 10
CELLS = tuple((provider, batch) for provider in ("cpu", "openvino") for batch in (1, 8, 64))
RATIO_SECONDS = 2.0
TUNE_SECONDS = 20.0
COPIES = ("default", "copy 1", "copy 2", "copy 3")
SWEEP_SECONDS = 1.0
RACE_SECONDS = 300.0
NDCG_TOLERANCE = 0.03
# Users of MovieLens 100K and 1M with two targets each, as `ssept gate` ranks for.
NDCG_USERS = {"100k": 943, "1m": 6040}

Trial = Callable[[Path, int], Record]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Trials of one verdict or interval.

    Attributes:
        what: a trial, and what counts as an error.
        level: the share of errors that is promised.
        trials: how many are wanted.
        trial: makes one of a checkpoint, by its number: plain JSON values, with `wrong`, and what
            it was judged by.
        hogs: processes beside it that burn a CPU each in random bursts.
    """

    what: str
    level: float
    trials: int
    trial: Trial
    hogs: int = 0


def matrix_ratio(checkpoint: Path, number: int) -> Record:
    """Time one file against itself as the matrix times a cell, and once in the former way.

    The former way is the blocks of calls of one pair of sessions, over as long a time.
    """
    provider, batch = CELLS[number % len(CELLS)]
    artifact = build(checkpoint, BASELINE)

    def fresh() -> CheckedCall:
        session = PROVIDERS[provider].load(artifact, 1)
        return checked_recommend(session, batch, TOP_K, provider)

    times = session_times(fresh, fresh, seconds=RATIO_SECONDS)
    cell_ns, baseline_ns = paired_times(fresh(), fresh(), seconds=RATIO_SECONDS)
    return {
        "cell": f"{BASELINE}-{provider}-b{batch:03}",
        **judged(session_ratio(times)),
        "log_ratios": [paired_log_ratio(*each) for each in times],
        "one_session": asdict(paired_ratio(baseline_ns, cell_ns)),
    }


def tuned_copies(checkpoint: Path, number: int) -> Record:
    """Tune a cell whose other settings are copies of the default."""
    try:
        from ssept.decide.tune import Space, tune
    except ImportError as error:
        raise SseptError(f"the study tune needs {error.name}: install the tune extra") from error
    provider, batch = CELLS[number % len(CELLS)]
    artifact = build(checkpoint, BASELINE)
    default = Settings(batch=batch)
    found = tune(
        artifact,
        provider,
        default,
        Space([1], {"copy": [*COPIES]}, [batch]),
        budget_s=TUNE_SECONDS,
        load=lambda settings: PROVIDERS[provider].load(artifact, settings.threads),
    )
    return {
        "cell": f"{BASELINE}-{provider}-b{batch:03}",
        "wrong": not found.kept_default,
        "ratio": asdict(found.speedup),
        "tried": found.tried,
    }


def swept_copy(checkpoint: Path, number: int) -> Record:
    """Time a set of INT8 layers against itself, as the sweep times one against another."""
    artifact = build(checkpoint, BASELINE)
    plan = SweepPlan(
        checkpoint=checkpoint,
        model=artifact.model,
        dataset=load_dataset(prepared_synthetic()),  # not looked at: nothing is ranked
        users=None,
        provider="cpu",
        batch_sizes=(1, 64),
        threads=1,
        seconds=SWEEP_SECONDS,
        max_loss=0.0,
    )
    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        sets = MeasuredSets(plan, Measurements(Path(folder) / "sweep.json", {}))
        layer = sets.layers[number % len(sets.layers)]
        ratios = sets.ratios(frozenset({layer}), frozenset({layer}))
    speed = geometric_mean([*ratios.values()])
    return {"cell": layer, "wrong": speed.low > 1, "ratio": asdict(speed)}


def raced_copies(checkpoint: Path, number: int) -> Record:
    """Race copies of one file, as a choice does; none of them is the winner."""
    provider, batch = CELLS[number % len(CELLS)]
    file = build(checkpoint, BASELINE)
    copies = [replace(file, variant=name) for name in COPIES]
    baseline, *arms = (
        Arm(artifact=artifact, provider=provider, threads=1, batch=batch)
        for artifact in (file, *copies)
    )
    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        kept = Kept(Path(folder) / "journal.jsonl", {})
        timing = Timing(arms, baseline, kept, RACE_SECONDS, lambda *_: None)
        race, failed = timing.race([arm.name for arm in arms])
    if failed:
        raise SseptError(f"the study of races: {'; '.join(failed.values())}")
    return {
        "cell": baseline.name,
        "wrong": len(race.alive) == 1,
        "left": len(race.alive),
        "passes": race.passes,
        "settled": race.settled,
    }


def lossy_ndcg(users: int, times: float, wrong: Verdict) -> Trial:
    """Return trials of the gate's verdict on a loss that is a multiple of its tolerance.

    Of each user's two targets some are hits, at a rank that is drawn; the head loses each hit with
    a probability, so that the loss expected over all users is the wanted one.
    """

    def trial(checkpoint: Path, number: int) -> Record:
        del checkpoint
        random = np.random.default_rng(number)
        base, head = made_up_ndcg(random, users, times * NDCG_TOLERANCE)
        verdict = judge_accuracy("made up", base, head, NDCG_TOLERANCE).verdict
        return {"wrong": verdict is wrong, "verdict": verdict.value}

    return trial


def made_up_ndcg(
    random: np.random.Generator, users: int, loss: float
) -> tuple[FloatArray, FloatArray]:
    """Draw NDCG@10 of users by two models, the second of which loses a share of it on average."""
    rank = random.geometric(0.05, (users, 2))  # two of five targets are among the best ten
    gain = np.where(rank <= TOP_K, 1 / np.log2(rank + 1), 0.0)
    kept = np.where(random.random(gain.shape) < loss, 0.0, gain)
    return gain.mean(axis=1), kept.mean(axis=1)


_RATIO = Study(
    what="one file against itself as two cells; error: the 99 % interval leaves out 1",
    level=0.01,
    trials=75,
    trial=matrix_ratio,
)
_NDCG_ERROR = {0: Verdict.REGRESSED, 1: Verdict.REGRESSED, 2: Verdict.FINE}
_PROMISES = {
    "sleeping": ("the promise of a server that takes a fixed time a request", sleeping_promise),
    "served": ("the promise of one process of ssept serve", served_promise),
}
_NOT_FOUND = (Answer.KEPT, Answer.INCONCLUSIVE)
_SLOWED = {
    "same": ("unchanged", 0.0, "called broken", (Answer.BROKEN,), 0.005),
    "slow": (f"{SLOWER:.0%} slower a request", SLOWER, "not called broken", _NOT_FOUND, 0.02),
}
STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        "ratio_quiet": _RATIO,
        "ratio_noisy": replace(_RATIO, hogs=2),
        "servers": Study(
            what="two servers of one file; error: the 99 % interval of their ratio leaves out 1",
            level=0.01,
            trials=20,
            trial=server_ratio,
        ),
        "compared_same": Study(
            what="one server under two names, compared; error: the 99 % interval leaves out 1",
            level=0.01,
            trials=20,
            trial=same_server,
        ),
        "compared_slow": Study(
            what=f"a server, and one {SLOWER:.0%} slower a request; error: not told apart",
            level=0.05,
            trials=5,
            trial=partial(slower_server, SLOWER),
        ),
        **{
            f"promise_{server}_{name}": Study(
                what=f"{says}, {how}; error: {wrong}",
                level=level,
                trials=20,
                trial=trial(slower, answers),
            )
            for server, (says, trial) in _PROMISES.items()
            for name, (how, slower, wrong, answers, level) in _SLOWED.items()
        },
        "tune": Study(
            what="settings that are copies of the default; error: one replaces it",
            level=0.005,
            trials=40,
            trial=tuned_copies,
        ),
        "sweep": Study(
            what="a layer swapped for itself; error: called faster",
            level=0.005,
            trials=40,
            trial=swept_copy,
        ),
        "race": Study(
            what="a race of copies of one file; error: one of them is named the winner",
            level=0.02,
            trials=50,
            trial=raced_copies,
        ),
        PASSES: Study(
            what="a pass over all cells that run here, which races are put together from",
            level=1.0,
            trials=30,
            trial=all_cells,
        ),
        **{
            f"ndcg_{name}_x{times}": Study(
                what=f"a loss of {times} times the tolerance; error: {wrong.value}",
                level=0.01,
                trials=200,
                trial=lossy_ndcg(users, times, wrong),
            )
            for name, users in NDCG_USERS.items()
            for times, wrong in _NDCG_ERROR.items()
        },
    }
)
