"""Every cell on the validation and the test split, its losses and its agreement with torch."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell
from ssept.data.dataset import Cases, Dataset, left_padded
from ssept.evaluation import NEGATIVES, accuracy, both_ranks, draw_negatives, mean_per_user
from ssept.measure.golden import GOLDEN_SUFFIX, drift, golden_path, score_error
from ssept.metrics import FloatArray, IntArray, bootstrap_relative_change, ndcg
from ssept.providers import PROVIDERS, budget, load
from ssept.providers.session import Session
from ssept.variants import CUSTOM

SPLITS = ("val", "test")
AGREEMENT_USERS = 512
AGREEMENT_BATCH = 64
TOP_K = 10
# Whether a loss stays within a budget is a one-sided question: the lower end of a 90 % interval is
# the 95 % bound that non-inferiority is customarily shown with.
BUDGET_CONFIDENCE = 0.9

Ranks = Callable[[Session, str], tuple[FloatArray, FloatArray]]
UNDECIDED = "may lose more: too few users to decide; train longer, or use data with more users"


@pytest.fixture(scope="session")
def reference(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Session:
    if not (option := pytestconfig.getoption)("--checkpoint"):
        for source in ("--artifacts", "--onnx"):
            if option(source):
                pytest.skip(f"nothing to compare with: {source} without --checkpoint")
    checkpoint: Path = request.getfixturevalue("checkpoint")
    if reason := PROVIDERS["torch"].unavailable():
        pytest.skip(f"nothing to compare with: {reason}")
    return load(checkpoint, "torch", "torch")


@pytest.fixture(scope="session")
def negatives(
    dataset: Dataset, cases: dict[str, Cases], pytestconfig: pytest.Config
) -> dict[str, IntArray | None]:
    drawn = {split: draw_negatives(own, dataset.items) for split, own in cases.items()}
    if small := [split for split, own in drawn.items() if own is None]:
        said = (
            f"no sampled figures for {' and '.join(small)}: a user has fewer than {NEGATIVES} "
            f"unseen items of {dataset.items}; the full ranking is measured"
        )
        with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{said}")
    return drawn


@pytest.fixture(scope="session")
def ranks(cases: dict[str, Cases], negatives: dict[str, IntArray | None]) -> Ranks:
    """Return the ranks of a split's targets, in the catalog and among negatives; computed once."""

    @functools.cache
    def ranks(session: Session, split: str) -> tuple[FloatArray, FloatArray]:
        length = session.artifact.model.max_length
        return both_ranks(session.scores, cases[split], length, negatives[split])

    return ranks


@pytest.mark.parametrize("split", SPLITS)
def test_accuracy(
    cell: Cell,
    split: str,
    dataset: Dataset,
    cases: dict[str, Cases],
    ranks: Ranks,
    benchmark: Any,
) -> None:
    session = cell.load()
    if split not in cases:
        pytest.skip(f"{dataset.folder / split}.csv has no targets")
    full, sampled = benchmark.pedantic(ranks, (session, split), rounds=1)
    benchmark.extra_info |= cell.facts() | {
        "measure": "accuracy",
        "split": split,
        "full": asdict(accuracy(full)),
    }
    if len(sampled):
        benchmark.extra_info[f"sampled_{NEGATIVES}"] = asdict(accuracy(sampled))


def test_budget(
    cell: Cell, baseline: Session, cases: dict[str, Cases], ranks: Ranks, benchmark: Any
) -> None:
    """What a cell loses of the baseline's NDCG@10, over each user's validation and test target."""
    session = cell.load()

    def figures(of: Session) -> FloatArray:
        """Compute the mean NDCG@10 of each user's targets, float64[users]."""
        users = np.concatenate([own.users for own in cases.values()])
        values = np.concatenate([ndcg(ranks(of, split)[0], 10) for split in cases])
        return mean_per_user(users, values)

    change = benchmark.pedantic(
        lambda: bootstrap_relative_change(
            figures(baseline), figures(session), confidence=BUDGET_CONFIDENCE
        ),
        rounds=1,
    )
    allowed = budget(cell.variant, cell.provider).max_ndcg_loss
    benchmark.extra_info |= cell.facts() | {
        "measure": "budget",
        "ndcg_change": asdict(change),
        "max_ndcg_loss": allowed,
    }
    seen = f"{change.value:+.2%} [{change.low:+.2%}, {change.high:+.2%}]"
    verdict = "loses more" if change.high < -allowed else UNDECIDED
    assert change.low >= -allowed, (
        f"NDCG@10 {seen} of the baseline's; the cell's budget is {-allowed:.1%}, and it {verdict}"
    )


def test_agreement(cell: Cell, dataset: Dataset, reference: Session, benchmark: Any) -> None:
    session = cell.load()
    cases = dataset.cases("test")
    users = cases.users[:AGREEMENT_USERS]
    length = session.artifact.model.max_length
    k = min(TOP_K, dataset.items)
    sequences = left_padded(cases.histories[:AGREEMENT_USERS], length)
    batches = np.array_split(np.arange(len(users)), -(-len(users) // AGREEMENT_BATCH))

    def compare() -> tuple[float, float]:
        errors, overlaps = [], []
        for rows in batches:
            expected = reference.scores(users[rows], sequences[rows])
            actual = session.scores(users[rows], sequences[rows])
            errors.append(score_error(actual[:, 1:], expected[:, 1:]))
            wanted, _ = reference.recommend(users[rows], sequences[rows], k)
            found, _ = session.recommend(users[rows], sequences[rows], k)
            overlaps += [len(set(a) & set(b)) / k for a, b in zip(wanted, found, strict=True)]
        return max(errors), float(np.mean(overlaps))

    error, overlap = benchmark.pedantic(compare, rounds=1)
    benchmark.extra_info |= cell.facts() | {
        "measure": "agreement",
        "score_error": error,
        "top10_overlap": overlap,
    }
    allowed = budget(cell.variant, cell.provider)
    assert error <= allowed.max_score_error, "scores differ from torch's past the cell's budget"
    assert overlap >= allowed.min_overlap, "the top 10 differ from torch's past the cell's budget"


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Path:
    paths: list[Path]
    if folder := pytestconfig.getoption("--artifacts"):
        paths = sorted(folder.glob(f"*{GOLDEN_SUFFIX}"))
    elif pytestconfig.getoption("--onnx") and not pytestconfig.getoption("--checkpoint"):
        paths = []
    else:
        paths = [golden_path(request.getfixturevalue("checkpoint"))]
    if not paths or not paths[0].is_file():
        pytest.skip(f"no *{GOLDEN_SUFFIX} beside the model; `ssept golden CHECKPOINT` writes one")
    return paths[0]


def test_golden(cell: Cell, golden: Path, benchmark: Any) -> None:
    """The answers kept beside the checkpoint: an upgraded package must not change them."""
    if cell.variant == CUSTOM:
        pytest.skip("golden outputs are of a checkpoint")
    session = cell.load()
    error, overlap = benchmark.pedantic(drift, (session, golden), rounds=1)
    benchmark.extra_info |= cell.facts() | {
        "measure": "golden",
        "score_error": error,
        "top10_overlap": overlap,
    }
    allowed = budget(cell.variant, cell.provider)
    assert error <= allowed.max_score_error, f"scores differ from {golden.name}"
    assert overlap >= allowed.min_overlap, f"the top 10 differ from {golden.name}"
