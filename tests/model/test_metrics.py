"""Ranks and ranking metrics: by hand, against scikit-learn, and under transforms."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sklearn_metrics  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssept import metrics
from ssept.estimate import Estimate

K = 10


def ids(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


@pytest.fixture
def scored() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores without ties of 300 users over 40 items, and a target for each."""
    rng = np.random.default_rng(7)
    return rng.standard_normal((300, 41)), rng.integers(1, 41, 300)


# Full ranking


@pytest.mark.parametrize(
    ("target", "rank"), [(1, 4.0), (2, 1.0), (3, 2.5), (4, 2.5), (5, 5.0)], ids=str
)
def test_rank_by_hand_with_one_tie(target: int, rank: float) -> None:
    scores = np.array([[9.0, 2.0, 7.0, 5.0, 5.0, 1.0]])
    assert metrics.midranks(scores, ids(target)).tolist() == [rank]


def test_padding_column_is_no_candidate_even_when_it_scores_best_or_nan() -> None:
    best = np.array([[np.inf, 1.0, 2.0]])
    assert metrics.midranks(best, ids(2)).tolist() == [1.0]
    assert metrics.midranks(np.array([[np.nan, 1.0, 2.0]]), ids(2)).tolist() == [1.0]


def test_excluded_items_leave_and_the_target_stays() -> None:
    scores = np.array([[0.0, 9.0, 8.0, 5.0, 5.0, 5.0, 1.0]])
    excluded = np.array([[False, True, False, True, True, False, False]])
    # Left are 8, the target's 5, one tied 5 and 1: second or third.
    assert metrics.midranks(scores, ids(3), excluded).tolist() == [2.5]
    assert metrics.midranks(scores, ids(3)).tolist() == [4.0]


def test_excluding_everything_leaves_the_target_first() -> None:
    scores = np.arange(6.0)[None, :]
    assert metrics.midranks(scores, ids(1), np.ones((1, 6), dtype=bool)).tolist() == [1.0]


def test_inputs_are_left_as_they_were() -> None:
    scores, excluded = np.ones((1, 5)), np.ones((1, 5), dtype=bool)
    metrics.midranks(scores, ids(2), excluded)
    assert scores.all()
    assert excluded.all()


def test_constant_scores_rank_in_the_middle_and_earn_nothing() -> None:
    items = 1000
    ranks = metrics.midranks(np.zeros((3, items + 1), dtype=np.float32), ids(1, 500, 1000))
    assert ranks.tolist() == [(items + 1) / 2] * 3
    assert metrics.ndcg(ranks, K).tolist() == [0.0] * 3
    assert metrics.hit_rate(ranks, K).tolist() == [0.0] * 3


def test_ruled_out_scores_may_be_infinite() -> None:
    scores = np.array([[0.0, -np.inf, 3.0, -np.inf, np.inf]])
    assert metrics.midranks(scores, ids(2)).tolist() == [2.0]


def test_nan_scores_name_their_row() -> None:
    scores = np.zeros((4, 6), dtype=np.float32)
    scores[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"row 2 .*NaN"):
        metrics.midranks(scores, ids(1, 1, 1, 1))


@pytest.mark.parametrize("target", [0, -1, 6])
def test_a_target_must_be_an_item(target: int) -> None:
    with pytest.raises(ValueError, match=rf"target id {target} .*1\.\.5"):
        metrics.midranks(np.zeros((1, 6)), ids(target))


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30), st.data())
def test_rank_is_the_mean_of_the_places_that_a_tie_break_could_give(
    row: list[int], data: st.DataObject
) -> None:
    target = data.draw(st.integers(1, len(row) - 1))
    better = sum(value > row[target] for value in row[1:])
    tied = sum(value == row[target] for value in row[1:])
    places = range(better + 1, better + tied + 1)
    rank = metrics.midranks(np.array([row], dtype=np.float64), ids(target))[0]
    assert rank == sum(places) / len(places)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30), st.data())
def test_rank_depends_on_the_order_of_scores_only(row: list[int], data: st.DataObject) -> None:
    target = ids(data.draw(st.integers(1, len(row) - 1)))
    scores = np.array([row], dtype=np.float64)
    rank = metrics.midranks(scores, target)
    assert metrics.midranks(np.exp(scores / 4), target) == rank
    assert metrics.midranks(3 * scores + 7, target) == rank


# Sampled ranking


def test_sampled_rank_by_hand() -> None:
    scores = np.array([[0.0, 4.0, 3.0, 3.0, 3.0, 2.0], [0.0, 1.0, 5.0, 5.0, 5.0, 5.0]])
    ranks = metrics.sampled_ranks(scores, ids(2, 1), np.array([[1, 3, 5], [2, 3, 4]]))
    assert ranks.tolist() == [2.5, 4.0]


def test_sampling_every_other_item_is_full_ranking(
    scored: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    scores, target = scored
    others = np.array([[item for item in range(1, 41) if item != own] for own in target])
    np.testing.assert_array_equal(
        metrics.sampled_ranks(scores, target, others), metrics.midranks(scores, target)
    )


def test_sampled_ranking_reads_only_what_it_ranks() -> None:
    scores = np.array([[0.0, 1.0, 2.0, np.nan]])
    assert metrics.sampled_ranks(scores, ids(1), np.array([[2]])).tolist() == [2.0]
    for target, negative in ((1, 3), (3, 1)):
        with pytest.raises(ValueError, match=r"row 0 .*NaN"):
            metrics.sampled_ranks(scores, ids(target), np.array([[negative]]))


def test_a_target_is_not_its_own_negative() -> None:
    with pytest.raises(ValueError, match="row 1: the target 2 is among its negatives"):
        metrics.sampled_ranks(np.zeros((2, 5)), ids(1, 2), np.array([[3, 4], [4, 2]]))


@pytest.mark.parametrize("negative", [0, -2, 5])
def test_a_negative_must_be_an_item(negative: int) -> None:
    with pytest.raises(ValueError, match=f"negative id {negative} "):
        metrics.sampled_ranks(np.zeros((1, 5)), ids(1), np.array([[negative]]))


# Negatives


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=15), min_size=1, max_size=5),
    st.integers(0, 2**32),
)
def test_negatives_are_distinct_unseen_items(seen: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(1, 31, len(seen))
    negatives = metrics.sample_negatives(rng, 30, seen, target, count=14)
    assert negatives.shape == (len(seen), 14)
    for row, history, own in zip(negatives.tolist(), seen, target.tolist(), strict=True):
        assert len(set(row)) == 14
        assert set(row) <= set(range(1, 31)) - set(history) - {own}


def test_negatives_are_uniform_over_what_is_left() -> None:
    users, items, count = 4000, 12, 4
    negatives = metrics.sample_negatives(
        np.random.default_rng(3), items, [[2, 5]] * users, np.full(users, 7), count
    )
    drawn = np.bincount(negatives.ravel(), minlength=items + 1)
    left = [1, 3, 4, 6, 8, 9, 10, 11, 12]
    # Each of the nine is drawn with probability 4/9; 5 standard deviations on either side.
    spread = 5 * np.sqrt(users * (4 / 9) * (5 / 9))
    assert np.abs(drawn[left] - users * count / len(left)).max() < spread
    assert drawn.sum() == drawn[left].sum()


def test_the_same_generator_state_gives_the_same_negatives() -> None:
    first, second = (
        metrics.sample_negatives(np.random.default_rng(1), 500, [[1], []], ids(2, 3))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_too_few_items_left_says_how_many_there_are() -> None:
    rng = np.random.default_rng(0)
    seen = [[], [1, 2, 3]]
    with pytest.raises(ValueError, match=r"row 1: 6 negatives .* only 5 of 9"):
        metrics.sample_negatives(rng, 9, seen, ids(4, 9), count=6)
    assert set(metrics.sample_negatives(rng, 9, seen, ids(4, 9), count=5)[1]) == {4, 5, 6, 7, 8}


@pytest.mark.parametrize("stranger", [-1, 10])
def test_a_seen_id_outside_the_catalog_is_refused(stranger: int) -> None:
    with pytest.raises(ValueError, match=r"row 0: a seen id .*0\.\.9"):
        metrics.sample_negatives(np.random.default_rng(0), 9, [[stranger]], ids(1), count=2)


# Metrics


def test_metrics_by_hand() -> None:
    ranks = np.array([1.0, 1.5, 3.0, 10.0, 10.5, 11.0])
    assert metrics.hit_rate(ranks, K).tolist() == [1, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(
        metrics.ndcg(ranks, K), [1.0, 0.7564707973660301, 0.5, 0.2890648263178879, 0.0, 0.0]
    )
    np.testing.assert_allclose(
        metrics.reciprocal_rank(ranks), [1.0, 2 / 3, 1 / 3, 0.1, 1 / 10.5, 1 / 11]
    )


def test_scikit_learn_agrees(scored: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    scores, target = scored
    ranks = metrics.midranks(scores, target)
    items, relevant = scores[:, 1:], np.eye(40)[target - 1]
    assert metrics.ndcg(ranks, K).mean() == pytest.approx(
        sklearn_metrics.ndcg_score(relevant, items, k=K)
    )
    assert metrics.hit_rate(ranks, K).mean() == pytest.approx(
        sklearn_metrics.top_k_accuracy_score(target, items, k=K, labels=np.arange(1, 41))
    )
    assert metrics.reciprocal_rank(ranks).mean() == pytest.approx(
        sklearn_metrics.label_ranking_average_precision_score(relevant, items)
    )


# Bootstrap


def test_interval_of_a_mean_agrees_with_the_normal_formula() -> None:
    values = np.random.default_rng(5).exponential(size=5000)
    estimate = metrics.bootstrap_mean(values, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert estimate.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    trials = 300
    covered = 0
    for trial in range(trials):
        estimate = metrics.bootstrap_mean(
            rng.random(200), confidence=0.9, resamples=300, seed=trial
        )
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.84 < covered / trials < 0.95


def test_more_confidence_is_a_wider_interval_and_the_same_seed_the_same_one() -> None:
    values = np.random.default_rng(2).random(100)
    narrow, wide = (metrics.bootstrap_mean(values, confidence=c) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert metrics.bootstrap_mean(values, seed=4) == metrics.bootstrap_mean(values, seed=4)
    assert metrics.bootstrap_mean(values, seed=4) != metrics.bootstrap_mean(values, seed=5)


def test_relative_change_is_paired() -> None:
    rng = np.random.default_rng(8)
    base = rng.random(1000)
    head = base * 1.02
    paired = metrics.bootstrap_relative_change(base, head)
    assert (paired.value, paired.low, paired.high) == pytest.approx((0.02, 0.02, 0.02))
    unpaired = metrics.bootstrap_relative_change(base, rng.permutation(head))
    assert unpaired.value == pytest.approx(0.02)
    assert unpaired.low < 0 < unpaired.high


def test_relative_change_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(9)
    base = rng.random(4000)
    head = 0.9 * base + 0.2 * rng.random(4000)
    estimate = metrics.bootstrap_relative_change(base, head, resamples=4000)
    ratio = head.mean() / base.mean()
    half = 1.96 * (head - ratio * base).std() / base.mean() / np.sqrt(base.size)
    assert estimate.value == pytest.approx(ratio - 1)
    assert estimate.low == pytest.approx(ratio - 1 - half, abs=half / 10)
    assert estimate.high == pytest.approx(ratio - 1 + half, abs=half / 10)


def test_where_nothing_differs_nothing_changed_however_few_the_hits() -> None:
    base = np.array([0.0, 0.0, 0.5])
    assert metrics.bootstrap_relative_change(base, base.copy()) == Estimate(0, 0, 0)


def test_too_few_hits_leave_a_relative_change_open() -> None:
    base, head = np.zeros(20), np.zeros(20)
    base[0] = head[0] = head[1] = 1.0
    estimate = metrics.bootstrap_relative_change(base, head)
    assert estimate == Estimate(1.0, -np.inf, np.inf)


@pytest.mark.parametrize(
    ("base", "head", "message"),
    [
        ([1.0, 2.0], [1.0], "2 users in base, 1 in head"),
        ([], [], "no users"),
        ([1.0, np.nan], [1.0, 1.0], "NaN"),
        ([0.0, 0.0], [1.0, 1.0], "mean of base is 0"),
    ],
    ids=["unequal", "empty", "nan", "zero"],
)
def test_what_has_no_relative_change_is_refused(base: Any, head: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.bootstrap_relative_change(np.array(base), np.array(head))


@pytest.mark.parametrize("values", [[], [0.5, np.inf]], ids=["empty", "infinite"])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no users|infinite"):
        metrics.bootstrap_mean(np.array(values))
