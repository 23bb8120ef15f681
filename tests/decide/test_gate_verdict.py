"""The gate's verdicts on log ratios that are made up: no process, no clock."""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from scipy import stats

from ssept.decide.gate.accuracy import hold_level, judge_accuracy
from ssept.decide.gate.findings import Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sequential_test import Trials, holm

TOLERANCE = 0.03
NOISE = 0.01


def decided(
    series: Mapping[str, Iterator[float]], plan: GatePlan | None = None, most_passes: int = 10**6
) -> Trials:
    """Feed log ratios, one a pass, until every cell has its verdict."""
    trials = Trials(plan or GatePlan(), dict.fromkeys(series, TOLERANCE))
    for passes in itertools.count(1):
        trials.after_pass({name: next(series[name]) for name in trials.open}, passes >= most_passes)
        if not trials.open:
            return trials
    raise AssertionError


def noisy(change: float, seed: int, noise: float = NOISE) -> Iterator[float]:
    random = np.random.default_rng(seed)
    return iter(lambda: math.log1p(change) + noise * random.standard_t(3), None)


def verdicts(trials: Trials) -> list[Verdict | None]:
    return [trial.verdict for trial in trials.cells.values()]


def suites(change: float, number: int, cells: int = 6) -> list[Trials]:
    return [
        decided({str(cell): noisy(change, 100 * suite + cell) for cell in range(cells)})
        for suite in range(number)
    ]


def test_identical_code_is_fine_in_every_suite() -> None:
    assert all(set(verdicts(trials)) == {Verdict.FINE} for trials in suites(0, 40))


def test_a_slowdown_is_found() -> None:
    assert all(set(verdicts(trials)) == {Verdict.REGRESSED} for trials in suites(0.10, 10))


def test_at_the_tolerance_itself_errors_stay_rare() -> None:
    runs = [decided({"a": noisy(TOLERANCE, seed)}) for seed in range(400)]
    found = [verdict for trials in runs for verdict in verdicts(trials)]
    # At most 1 % each; 12 of 400 would be exceeded by chance in less than 1 of 1000 such tests.
    assert found.count(Verdict.REGRESSED) <= 12
    assert found.count(Verdict.FINE) <= 12


def test_one_slow_cell_does_not_condemn_the_others() -> None:
    series = {str(cell): noisy(0, cell) for cell in range(5)} | {"slow": noisy(0.2, 9)}
    trials = decided(series)
    assert [n for n, t in trials.cells.items() if t.verdict == Verdict.REGRESSED] == ["slow"]


def test_a_spell_of_trouble_is_not_confirmed() -> None:
    first = GatePlan().passes(1)[0]
    trial = decided({"a": itertools.chain([0.1] * first, noisy(0, 1))}).cells["a"]
    assert trial.verdict != Verdict.REGRESSED
    assert len(trial.log_ratios) > first + GatePlan().confirmation - 1


def test_an_unconfirmed_alarm_at_the_last_look_is_inconclusive() -> None:
    first = GatePlan().passes(1)[0]
    series = {"a": itertools.chain([0.1 + i / 1e3 for i in range(first)], itertools.repeat(0.0))}
    trial = decided(series, most_passes=first).cells["a"]
    assert trial.verdict == Verdict.INCONCLUSIVE
    assert "not confirmed: +0.0%" in trial.why


def test_when_time_is_over_the_smallest_visible_change_is_told() -> None:
    first = GatePlan().passes(1)[0]
    trial = decided({"a": noisy(0.03, 3, 0.05)}, most_passes=first).cells["a"]
    assert trial.verdict == Verdict.INCONCLUSIVE
    interval = trial.looks[-1].log_ratio
    assert f"±{math.expm1((interval.high - interval.low) / 2):.1%}" in trial.why


def test_what_is_faster_is_fine_and_called_faster() -> None:
    trial = decided({"a": noisy(-0.2, 1)}).cells["a"]
    assert (trial.verdict, trial.why) == (Verdict.FINE, "faster")


def test_no_more_looks_than_declared() -> None:
    plan = GatePlan(looks=3)
    trials = decided({"a": noisy(TOLERANCE, 5, 0.05)}, plan)
    assert [look.passes for look in trials.cells["a"].looks] == list(plan.passes(1))
    early = decided({"a": noisy(TOLERANCE, 5, 0.05)}, plan, most_passes=plan.passes(1)[1] + 1)
    assert len(early.cells["a"].looks) == 3
    assert plan.level * plan.looks == pytest.approx(plan.alpha)


@pytest.mark.parametrize("cells", [1, 2, 6, 24, 100])
def test_the_first_look_can_already_reject(cells: int) -> None:
    plan = GatePlan()
    first = plan.passes(cells)[0]
    all_but_one = np.append(np.arange(1, first, dtype=float), -0.5)
    p = stats.wilcoxon(all_but_one, alternative="greater").pvalue
    assert p <= plan.level / cells
    assert list(plan.passes(cells)) == sorted(set(plan.passes(cells)))


def test_a_stretch_fits_its_pass_into_the_time() -> None:
    plan = GatePlan()
    assert 1.2 + 6 * plan.stretch_s(6, 1.2, 3.0) == pytest.approx(3.0)
    assert plan.stretch_s(1, 3.0, 3.05) == plan.stretch_seconds / 4  # less tells nothing
    assert plan.stretch_s(1, 3.0) == 3.0  # worth its start


@pytest.mark.parametrize(("call_ms", "calls"), [(0.2, 3), (4.9, 2), (9.0, 1), (1e4, 1)])
def test_long_calls_take_turns_one_by_one(call_ms: float, calls: int) -> None:
    assert GatePlan().calls_of(call_ms * 1e6) == calls


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, 0.05) == {"a", "d"}
    assert holm({"a": 0.02, "b": 0.02}, 0.05) == {"a", "b"}
    assert holm({"a": 0.03, "b": 0.03}, 0.05) == set()


def test_failing_and_stopping_close_cells() -> None:
    trials = Trials(GatePlan(), {"a": TOLERANCE, "b": TOLERANCE})
    trials.fail("a", "it died")
    trials.stop("interrupted")
    assert verdicts(trials) == [Verdict.UNMEASURED] * 2
    assert trials.cells["a"].why == "it died"


def users(share_lost: float, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    base = np.tile([1.0, 0.5, 0.0, 0.0], count // 4)
    lost = np.random.default_rng(0).random(count) < share_lost
    return base, np.where(lost, 0.0, base)


@pytest.mark.parametrize(
    ("ndcg", "verdict"),
    [
        (users(0.0), Verdict.FINE),
        (users(0.1), Verdict.REGRESSED),
        (users(0.001), Verdict.FINE),  # a loss, and smaller than is tolerated
        (users(0.1, 24), Verdict.INCONCLUSIVE),
        (users(0.0)[::-1], Verdict.FINE),
        ((np.zeros(9), np.zeros(9)), Verdict.FINE),
        ((np.zeros(9), np.ones(9)), Verdict.UNMEASURED),
    ],
)
def test_accuracy_counts_what_is_sure_and_matters(
    ndcg: tuple[np.ndarray, np.ndarray], verdict: Verdict
) -> None:
    assert judge_accuracy("a", *ndcg, tolerance=0.005).verdict == verdict


def lossy(rng: np.random.Generator, count: int, loss: float) -> tuple[np.ndarray, np.ndarray]:
    """NDCG of users, most of them without a hit; each hit is lost with a probability."""
    rank = rng.geometric(0.1, count)
    base = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)
    return base, np.where(rng.random(count) < loss, 0.0, base)


@pytest.mark.slow
@pytest.mark.parametrize(("times", "least", "most"), [(0, 0, 0), (1, 0, 3), (2, 55, 60)])
def test_a_loss_is_called_only_beyond_its_tolerance(times: float, least: int, most: int) -> None:
    """None, exactly the tolerance (1 % of alarms), and twice the tolerance."""
    rng = np.random.default_rng(8)
    found = [judge_accuracy("a", *lossy(rng, 6000, times * 0.03), 0.03).verdict for _ in range(60)]
    assert least <= found.count(Verdict.REGRESSED) <= most
    assert found.count(Verdict.FINE) <= (60, 3, 0)[int(times)]


def test_the_level_is_shared_among_all_that_were_compared() -> None:
    rng = np.random.default_rng(9)
    close = judge_accuracy("close", *lossy(rng, 6000, 0.036), 0.03)
    assert close.verdict is Verdict.REGRESSED
    assert 1e-4 < close.details["p"] < 0.01
    assert hold_level([close]) == [close]
    others = [judge_accuracy(f"{n}", *lossy(rng, 600, 0.0), 0.03) for n in range(99)]
    held = hold_level([close, *others])
    assert held[0].verdict is Verdict.INCONCLUSIVE
    assert "among 100 comparisons" in held[0].why
    assert held[1:] == others
    sure = judge_accuracy("sure", *lossy(rng, 6000, 0.5), 0.03)
    assert hold_level([sure, *others])[0].verdict is Verdict.REGRESSED
