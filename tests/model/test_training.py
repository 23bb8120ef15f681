"""Training learns, stops, resumes, and draws its windows and negatives as it says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ssept.data.dataset import Dataset, load_dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.errors import CheckpointError
from ssept.evaluation import accuracy, full_ranks, popularity_scorer
from ssept.model import train as training
from ssept.model.checkpoint import load_checkpoint
from ssept.model.losses import binary_cross_entropy, cross_entropy
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.train import TrainingSettings, scorer, train
from ssept.model.windows import NegativeSampler, WindowSettings, training_batches

SETTINGS = TrainingSettings(epochs=3, patience=5, batch_size=16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def config_for(dataset: Dataset) -> SSEPTConfig:
    return SSEPTConfig(dataset.users, dataset.items, item_dim=16, user_dim=8, max_length=20)


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_the_loss_falls(small: Dataset, tmp_path: Path, loss: str) -> None:
    out = tmp_path / "m.safetensors"
    settings = dataclasses.replace(SETTINGS, loss=loss, epochs=8)
    run = training.TrainingRun(small, config_for(small), settings, out, "small")
    while not run.finished:
        run.epoch()
    losses = [epoch["loss"] for epoch in run.progress.history]
    assert losses[-1] < losses[0]


def test_the_sequence_is_learned_where_popularity_knows_little(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "data", users=600, items=300, seed=1)
    dataset = load_dataset(tmp_path / "data")
    settings = TrainingSettings(epochs=30, patience=30, learning_rate=3e-3, seed=2)
    config = config_for(dataset)
    trained = train(dataset, config, settings, tmp_path / "m.safetensors", "synthetic")
    cases = dataset.cases("test")
    popular = accuracy(full_ranks(popularity_scorer(dataset), cases, 1)).ndcg.value
    learned = accuracy(full_ranks(scorer(trained.model), cases, config.max_length)).ndcg
    assert learned.low > 1.3 * popular


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    small: Dataset, tmp_path: Path
) -> None:
    config = config_for(small)
    whole = train(small, config, SETTINGS, tmp_path / "whole.safetensors", "small")
    out = tmp_path / "parts.safetensors"
    training.TrainingRun(small, config, SETTINGS, out, "small").epoch()
    assert not out.exists()
    parts = train(small, config, SETTINGS, out, "small")
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], tensor, rtol=0, atol=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "parts.safetensors",
        "whole.safetensors",
    ]


def test_another_runs_state_is_not_overwritten(small: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    training.TrainingRun(small, config_for(small), SETTINGS, out, "small").epoch()
    other = dataclasses.replace(SETTINGS, seed=9)
    with pytest.raises(CheckpointError, match="interrupted run with other settings"):
        train(small, config_for(small), other, out, "small")


def test_a_broken_state_is_named(small: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    (tmp_path / "m.safetensors.training").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"m\.safetensors\.training.*delete"):
        train(small, config_for(small), SETTINGS, out, "small")


def test_the_checkpoint_says_how_it_was_trained(small: Dataset, tmp_path: Path) -> None:
    train(small, config_for(small), SETTINGS, tmp_path / "m.safetensors", "small")
    checkpoint = load_checkpoint(tmp_path / "m.safetensors")
    assert checkpoint.data == {"name": "small", "data_hash": small.data_hash}
    assert checkpoint.training["epochs_run"] == 3
    assert checkpoint.training["seed"] == SETTINGS.seed
    assert checkpoint.item_ids.tolist() == small.item_ids.tolist()


def windows(**changes: float) -> WindowSettings:
    settings = WindowSettings(10, 7, keep_user=1.0, keep_item=1.0, random_start=0.0)
    return dataclasses.replace(settings, **changes)


def test_windows_hold_the_latest_items_and_their_successors(small: Dataset) -> None:
    met = 0
    for batch in training_batches(small, windows(), np.random.default_rng(0)):
        for user, inputs, positives in zip(batch.user, batch.inputs, batch.positives, strict=True):
            recent = small.train[user - 1][-11:]
            assert inputs.tolist() == recent[:-1].tolist()
            assert positives.tolist() == recent[1:].tolist()
            met += 1
    assert met == small.users


def test_sse_swaps_an_item_as_input_and_as_positive(small: Dataset) -> None:
    random = np.random.default_rng(0)
    swapped = total = 0
    for batch in training_batches(small, windows(keep_item=0.8), random):
        assert (batch.inputs[:, 1:] == batch.positives[:, :-1]).all()
        for user, inputs in zip(batch.user, batch.inputs, strict=True):
            swapped += int((inputs != small.train[user - 1][-11:-1]).sum())
            total += inputs.size
    assert 0.1 < swapped / total < 0.3


def test_sse_keeps_a_user_with_the_given_probability(small: Dataset) -> None:
    random = np.random.default_rng(0)
    kept = total = 0
    for _ in range(20):
        for batch in training_batches(small, windows(keep_user=0.3), random):
            owners = {tuple(h[-11:-1]): user + 1 for user, h in enumerate(small.train)}
            for user, inputs in zip(batch.user, batch.inputs, strict=True):
                kept += owners[tuple(inputs)] == user
                total += 1
    assert 0.25 < kept / total < 0.4


def test_negatives_are_items_that_the_user_has_not_met(small: Dataset) -> None:
    users = np.arange(1, small.users + 1)
    drawn = NegativeSampler(small).draw(users, 50, np.random.default_rng(0))
    assert drawn.min() >= 1
    assert drawn.max() <= small.items
    for user, negatives in zip(users, drawn, strict=True):
        assert not set(negatives) & set(small.train[user - 1])


def test_sampled_cross_entropy_over_all_items_is_the_full_one(small: Dataset) -> None:
    torch.manual_seed(0)
    model = SSEPT(config_for(small)).eval()
    user = torch.tensor([1, 2])
    inputs = torch.tensor([[0, 4, 5], [7, 8, 9]])
    positives = torch.tensor([[0, 5, 6], [8, 9, 1]])
    everything = torch.arange(1, small.items + 1)
    full = cross_entropy(model, user, inputs, positives, None)
    sampled = cross_entropy(model, user, inputs, positives, everything)
    torch.testing.assert_close(full, sampled)


def test_the_papers_loss_scores_candidates_with_the_users_half(small: Dataset) -> None:
    torch.manual_seed(0)
    model = SSEPT(config_for(small)).eval()
    user, inputs = torch.tensor([3]), torch.tensor([[4]])
    positive, negative = torch.tensor([[5]]), torch.tensor([[6]])
    state = model.encode(user, inputs)[0, 0]

    def logit(item: int) -> torch.Tensor:
        candidate = torch.cat([model.item.weight[item], model.user.weight[3] * 8**0.5])
        return state @ candidate

    expected = -torch.log(torch.sigmoid(logit(5))) - torch.log(1 - torch.sigmoid(logit(6)))
    actual = binary_cross_entropy(model, user, inputs, positive, negative)
    torch.testing.assert_close(actual, expected)
