"""Figures on the real MovieLens files, where they are given."""

from pathlib import Path

import pytest

from ssept.data.dataset import Dataset, load_dataset
from ssept.data.prepare import prepare
from ssept.evaluation import accuracy, both_ranks, draw_negatives, popularity_scorer
from tests.helpers.data_files import real_folder


@pytest.fixture(scope="module")
def ml1m(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("real") / "ml-1m"
    prepare(real_folder("ml-1m"), out, progress=False)
    return load_dataset(out)


def test_popularity_on_ml_1m_is_the_published_one(ml1m: Dataset) -> None:
    cases = ml1m.cases("test")
    negatives = draw_negatives(cases, ml1m.items)
    full, sampled = map(accuracy, both_ranks(popularity_scorer(ml1m), cases, 1, negatives))
    assert full.ndcg.value == pytest.approx(0.0180, abs=0.0005)
    assert full.hr.value == pytest.approx(0.0369, abs=0.0005)
    assert sampled.ndcg.value == pytest.approx(0.238, abs=0.01)
    assert sampled.hr.value == pytest.approx(0.435, abs=0.01)


def test_the_manifest_says_what_the_sequence_file_lacks(ml1m: Dataset) -> None:
    manifest = (Path(ml1m.folder) / "manifest.json").read_text()
    assert "rating" in manifest
    assert "timestamp" in manifest
