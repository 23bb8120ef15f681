"""Every cell on the validation and the test split, and its agreement with torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.cells import Cell
from ssept.data.dataset import Dataset, left_padded
from ssept.evaluation import accuracy, both_ranks, draw_negatives
from ssept.measure.golden import GOLDEN_SUFFIX, drift, golden_path
from ssept.metrics import IntArray
from ssept.providers import PROVIDERS, budget, load
from ssept.providers.session import Session
from ssept.variants import CUSTOM

SPLITS = ("val", "test")
AGREEMENT_USERS = 512
AGREEMENT_BATCH = 64


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
def negatives(dataset: Dataset) -> dict[str, IntArray]:
    return {split: draw_negatives(dataset.cases(split), dataset.items) for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_accuracy(
    cell: Cell, split: str, dataset: Dataset, negatives: dict[str, IntArray], benchmark: Any
) -> None:
    session = cell.load()
    cases, length = dataset.cases(split), session.artifact.model.max_length
    if not len(cases):
        pytest.skip(f"{dataset.folder / split}.csv has no targets")
    ranks, sampled = benchmark.pedantic(
        both_ranks, (session.scores, cases, length, negatives[split]), rounds=1
    )
    benchmark.extra_info |= cell.facts() | {
        "measure": "accuracy",
        "split": split,
        "full": asdict(accuracy(ranks)),
        "sampled_100": asdict(accuracy(sampled)),
    }


def test_agreement(cell: Cell, dataset: Dataset, reference: Session, benchmark: Any) -> None:
    session = cell.load()
    cases = dataset.cases("test")
    users = cases.users[:AGREEMENT_USERS]
    length = session.artifact.model.max_length
    sequences = left_padded(cases.histories[:AGREEMENT_USERS], length)
    batches = np.array_split(np.arange(len(users)), -(-len(users) // AGREEMENT_BATCH))

    def compare() -> tuple[float, float]:
        errors, overlaps = [], []
        for rows in batches:
            expected = reference.scores(users[rows], sequences[rows])
            actual = session.scores(users[rows], sequences[rows])
            errors.append(float(np.abs(actual - expected)[:, 1:].max()))
            wanted, _ = reference.recommend(users[rows], sequences[rows], 10)
            found, _ = session.recommend(users[rows], sequences[rows], 10)
            overlaps += [len(set(a) & set(b)) / 10 for a, b in zip(wanted, found, strict=True)]
        return max(errors), float(np.mean(overlaps))

    error, overlap = benchmark.pedantic(compare, rounds=1)
    benchmark.extra_info |= cell.facts() | {
        "measure": "agreement",
        "score_error": error,
        "top10_overlap": overlap,
    }
    max_score_error, min_overlap = budget(cell.variant, cell.provider)
    assert error <= max_score_error, "scores differ from torch's past the cell's budget"
    assert overlap >= min_overlap, "the top 10 differ from torch's past the cell's budget"


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
    max_score_error, min_overlap = budget(cell.variant, cell.provider)
    assert error <= max_score_error, f"scores differ from {golden.name}"
    assert overlap >= min_overlap, f"the top 10 differ from {golden.name}"
