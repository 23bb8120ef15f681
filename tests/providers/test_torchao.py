"""torchao's INT8: the linear layers and nothing else, proved, and no other session changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssept
from ssept.data.dataset import Dataset
from ssept.errors import FallbackError
from ssept.providers import PROVIDERS, budget
from ssept.providers.session import Session
from tests.conftest import batch, untrained

pytestmark = pytest.mark.slow  # each session is compiled

CELL = ("torch", "torchao_int8")
LINEAR_LAYERS = 5  # of a block: query, key, value and the two of the feed-forward network
FLOAT_PRODUCTS = 2  # of a block: attention's; the scores are one more


def available() -> None:
    if reason := PROVIDERS[CELL[1]].unavailable():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    available()
    return untrained(small, tmp_path_factory.mktemp("c") / "full.safetensors")


@pytest.fixture(scope="module")
def session(checkpoint: Path) -> Session:
    return ssept.load(checkpoint, *CELL)


@pytest.fixture
def one_block(small: Dataset, tmp_path: Path) -> Path:
    available()
    sizes = {"item_dim": 8, "user_dim": 8, "blocks": 1, "heads": 2}
    return untrained(small, tmp_path / "one_block.safetensors", **sizes)


def test_it_is_another_arithmetic_within_its_own_budget(
    session: Session, checkpoint: Path, small: Dataset
) -> None:
    float32 = ssept.load(checkpoint, "torch", "torch")
    allowed = budget(*CELL)
    random = np.random.default_rng(0)
    for size, length in ((64, 50), (7, 20), (1, 1)):
        user, sequence = batch(random, small.users, small.items, size, length)
        wanted, found = (of.scores(user, sequence) for of in (float32, session))
        error = np.abs(found - wanted).max()
        assert budget("torch", "torch").max_score_error < error < allowed.max_score_error
    user, sequence = batch(random, small.users, small.items, 64, 50)
    best, own = (of.recommend(user, sequence, 10)[0] for of in (float32, session))
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(best, own, strict=True)]
    assert np.mean(shares) >= allowed.min_overlap


def test_every_linear_layer_runs_in_int8_and_the_rest_in_float32(session: Session) -> None:
    assert session.placement() == {
        "inductor int8": 2 * LINEAR_LAYERS,
        "inductor float32": 2 * FLOAT_PRODUCTS + 1,
    }


def test_another_network_has_its_own_count_and_other_sessions_keep_their_settings(
    one_block: Path,
) -> None:
    from torch._inductor import config

    def settings() -> list[Any]:
        tuning = config.coordinate_descent_tuning, config.force_fuse_int_mm_with_mul
        return [torch.get_float32_matmul_precision(), *tuning]

    before = settings()
    placement = ssept.load(one_block, *CELL).placement()
    assert placement == {"inductor int8": LINEAR_LAYERS, "inductor float32": FLOAT_PRODUCTS + 1}
    assert settings() == before


def test_a_network_that_stays_float32_is_refused(
    one_block: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchao.quantization.quantize_", lambda model, config: None)
    with pytest.raises(FallbackError, match=r"quantized no layer of one_block\.safetensors"):
        ssept.load(one_block, *CELL)


def test_int8_weights_that_are_multiplied_in_float32_are_refused(
    one_block: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchao import quantization

    quantize: Callable[..., None] = quantization.quantize_
    monkeypatch.setattr(
        "torchao.quantization.quantize_",
        lambda model, config: quantize(model, quantization.Int8WeightOnlyConfig()),
    )
    session = ssept.load(one_block, *CELL)
    with pytest.raises(FallbackError, match=f"made {LINEAR_LAYERS} layers INT8, but a call has 0"):
        session.placement()


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torchao" else object()
    )
    reason = PROVIDERS[CELL[1]].unavailable()
    assert reason == "torchao is not installed: install the torchao extra"
