"""A catalog of few items is measured by the full ranking; sampled figures need more items."""

from pathlib import Path

import numpy as np
import pytest

from ssept.cli import main
from ssept.data.dataset import Cases
from ssept.evaluation import both_ranks, draw_negatives
from ssept.metrics import FloatArray, IntArray
from tests.helpers.matrix import run_matrix


def cases_with(seen: int) -> Cases:
    """One user with a history of that many different items, each twice, and a target beyond."""
    history = np.repeat(np.arange(1, seen + 1), 2)
    return Cases(np.array([1]), [history], np.array([seen + 1]))


@pytest.mark.parametrize(
    ("items", "seen", "drawn"), [(110, 9, True), (110, 10, False), (10, 3, False)]
)
def test_negatives_are_drawn_where_every_user_has_a_hundred(
    items: int, seen: int, drawn: bool
) -> None:
    cases = cases_with(seen)
    negatives = draw_negatives(cases, items)
    assert (negatives is not None) == drawn

    def scorer(user: IntArray, _sequence: IntArray) -> FloatArray:
        return np.zeros((len(user), items + 1), np.float32)

    full, sampled = both_ranks(scorer, cases, 50, negatives)
    assert full.tolist() == [(1 + items - seen) / 2]
    assert len(sampled) == drawn


@pytest.mark.slow
@pytest.mark.parametrize("items", [10, 6])
def test_every_accuracy_test_passes_on_a_small_catalog(
    items: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    data, model = tmp_path / "tiny.txt", tmp_path / "tiny.safetensors"
    random = np.random.default_rng(0)
    data.write_text(
        "".join(f"{u} {i + 1}\n" for u in range(1, 31) for i in random.permutation(items)[:5])
    )
    assert main(["train", str(data), f"--out={model}", "--epochs=1", "--threads=1"]) == 0
    done = run_matrix(
        tmp_path / "results",
        "benchmarks/test_accuracy.py",
        f"--data-dir={data}",
        f"--checkpoint={model}",
        "--variants=torch,onnx",
        "--providers=torch,cpu",
    )
    assert done.code == 0, done.output
    assert (
        f"no sampled figures for val and test: a user has fewer than 100 unseen items of {items}"
        in (done.output)
    )
    cells = done.cells("accuracy")
    assert len(cells) == 4
    assert all("full" in cell and "sampled_100" not in cell for cell in cells.values())
    assert len(done.cells("agreement")) == len(done.cells("budget")) == 2
