"""Training learns, stops, resumes, and draws its windows and negatives as it says."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssept.data.dataset import Dataset, Ids, left_padded, load_dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.errors import CheckpointError
from ssept.evaluation import accuracy, full_ranks, popularity_scorer
from ssept.model.checkpoint import load_checkpoint
from ssept.model.dropout import Dropout
from ssept.model.losses import binary_cross_entropy, cross_entropy
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.packed import encode_packed, scorer
from ssept.model.recipe import TrainingSettings
from ssept.model.run import TrainingRun
from ssept.model.train import train
from ssept.model.windows import NegativeSampler, WindowReader, WindowSettings

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
    run = TrainingRun(small, config_for(small), settings, out, "small")
    while not run.finished:
        run.epoch()
    losses = [epoch["loss"] for epoch in run.progress.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("minutes", "finished"), [(2.3, True), (2.4, False), (0.001, True)])
def test_no_epoch_begins_that_could_not_end_in_time(
    small: Dataset, tmp_path: Path, minutes: float, finished: bool
) -> None:
    settings = dataclasses.replace(SETTINGS, max_minutes=minutes)
    run = TrainingRun(small, config_for(small), settings, tmp_path / "m.safetensors", "small")
    assert not run.finished  # the first epoch is trained, whatever the limit
    run.epoch()
    run.progress.seconds = 70.0  # the next one ends after 140
    assert run.finished == finished


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
    TrainingRun(small, config, SETTINGS, out, "small").epoch()
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
    TrainingRun(small, config_for(small), SETTINGS, out, "small").epoch()
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


def reader(dataset: Dataset, **changes: float) -> WindowReader:
    settings = WindowSettings(
        max_length=10, batch_size=7, keep_user=1.0, keep_item=1.0, random_start=0.0
    )
    return WindowReader(dataset, dataclasses.replace(settings, **changes))


def windows_of(dataset: Dataset, seed: int = 0, **changes: float) -> list[tuple[int, Ids, Ids]]:
    """User, inputs and positives of each window of an epoch."""
    return [
        (int(user), inputs, positives)
        for batch in reader(dataset, **changes).batches(np.random.default_rng(seed))
        for user, inputs, positives in zip(
            batch.user,
            np.split(batch.inputs, np.cumsum(batch.lengths)[:-1]),
            np.split(batch.positives, np.cumsum(batch.lengths)[:-1]),
            strict=True,
        )
    ]


def test_windows_hold_the_latest_items_and_their_successors(small: Dataset) -> None:
    windows = windows_of(small)
    assert sorted(user for user, _, _ in windows) == list(range(1, small.users + 1))
    for user, inputs, positives in windows:
        recent = small.train[user - 1][-11:]
        assert inputs.tolist() == recent[:-1].tolist()
        assert positives.tolist() == recent[1:].tolist()


def test_a_batch_of_short_windows_has_more_of_them(small: Dataset) -> None:
    counts = []
    for items in (0, 100, 10_000):
        batches = [*reader(small, batch_items=items).batches(np.random.default_rng(0))]
        assert len(batches) == reader(small, batch_items=items).count()
        counts.append(len(batches[0].inputs))
        assert sum(len(batch.owner) for batch in batches) == small.users
    lengths = [min(len(history) - 1, 10) for history in small.train]
    assert counts[0] < 100 <= counts[1] + max(lengths)
    assert counts[2] == sum(lengths)


def test_random_windows_lie_in_the_history(small: Dataset) -> None:
    starts = set()
    for user, inputs, positives in windows_of(small, random_start=1.0, max_length=4):
        history = small.train[user - 1].tolist()
        places = [
            at
            for at in range(len(history) - len(inputs))
            if history[at : at + len(inputs)] == inputs.tolist()
            and history[at + 1 : at + 1 + len(inputs)] == positives.tolist()
        ]
        assert len(inputs) == min(4, len(history) - 1)
        assert places
        starts.add(len(history) - places[0])
    assert len(starts) > 3


@pytest.mark.parametrize("longest", [1, 3, 4, 10, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_windows_that_cover_have_each_successor_once(
    small: Dataset, longest: int, seed: int
) -> None:
    windows = windows_of(small, seed, cover=True, max_length=longest)
    batches = reader(small, cover=True, max_length=longest)
    assert batches.count() == len([*batches.batches(np.random.default_rng(seed))])
    for user, history in enumerate(small.train, start=1):
        own = [zip(inputs, after, strict=True) for owner, inputs, after in windows if owner == user]
        assert sorted(itertools.chain(*own)) == sorted(itertools.pairwise(history))
    assert max(len(inputs) for _, inputs, _ in windows) <= longest


def test_parts_of_a_batch_are_the_batch(small: Dataset) -> None:
    for batch in reader(small).batches(np.random.default_rng(0)):
        parts = [batch.part(rank, 3) for rank in range(3)]
        for name in ("owner", "user", "lengths", "inputs", "positives"):
            together = np.concatenate([getattr(part, name) for part in parts])
            assert sorted(together) == sorted(getattr(batch, name))


def test_sse_swaps_an_item_as_input_and_as_positive(small: Dataset) -> None:
    swapped = total = 0
    for user, inputs, positives in windows_of(small, keep_item=0.8):
        assert (inputs[1:] == positives[:-1]).all()
        swapped += int((inputs != small.train[user - 1][-11:-1]).sum())
        total += inputs.size
    assert 0.1 < swapped / total < 0.3


def test_sse_keeps_a_user_with_the_given_probability(small: Dataset) -> None:
    batches = [
        batch
        for seed in range(20)
        for batch in reader(small, keep_user=0.3).batches(np.random.default_rng(seed))
    ]
    kept = np.concatenate([batch.user == batch.owner for batch in batches])
    assert 0.25 < kept.mean() < 0.4


def test_negatives_are_items_that_the_user_has_not_met(small: Dataset) -> None:
    users = np.repeat(np.arange(1, small.users + 1), 50)
    drawn = NegativeSampler(small).draw(users, np.random.default_rng(0))
    assert drawn.min() >= 1
    assert drawn.max() <= small.items
    for user, negative in zip(users, drawn, strict=True):
        assert negative not in small.train[user - 1]


def packed(dataset: Dataset, rows: int) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Users, items end to end, lengths, and the same items padded."""
    histories = sorted((history[-20:] for history in dataset.train[:rows]), key=len, reverse=True)
    padded = left_padded(histories, 20)
    return (
        torch.arange(1, rows + 1),
        torch.from_numpy(np.concatenate(histories)),
        [len(history) for history in histories],
        torch.from_numpy(padded),
    )


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("user_dim", [8, 0])
def test_packed_windows_have_the_states_of_padded_ones(
    small: Dataset, heads: int, user_dim: int
) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(config_for(small), heads=heads, user_dim=user_dim)
    model = SSEPT(config).eval()
    user, items, lengths, padded = packed(small, 9)
    expected = model.encode(user, padded)[padded != 0]
    actual = encode_packed(model, user, model.item(items), lengths)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    gradients = []
    for states in (expected, actual):
        model.zero_grad()
        states.square().sum().backward()
        gradients.append(
            [p.grad.clone() for p in model.parameters() if p.grad is not None and p.numel()]
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_the_packed_scorer_scores_as_the_network_does(small: Dataset) -> None:
    torch.manual_seed(0)
    model = SSEPT(config_for(small)).eval()
    user, _, _, padded = packed(small, 9)
    order = torch.randperm(9)
    with torch.inference_mode():
        expected = model(user, padded[order]).numpy()
    actual = scorer(model)(user.numpy(), padded[order].numpy())
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("leaves_out_own", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_cross_entropy_and_its_gradients_are_those_of_all_scores_at_once(
    small: Dataset, leaves_out_own: bool, sampled: bool, scale: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ssept.model.losses.SCORES", small.items)
    torch.manual_seed(0)
    model = SSEPT(config_for(small)).double()
    counts = [1, 20, 7, 30]
    owns = [torch.randperm(small.items)[:5] + 1 for _ in counts]
    states = (scale * torch.randn(sum(counts), model.config.dim)).double().requires_grad_()
    positives = torch.randint(1, small.items + 1, (sum(counts),))
    candidates = torch.randperm(small.items)[: small.items // 2] + 1 if sampled else None
    own = [*zip(counts, owns, strict=True)] if leaves_out_own else []

    allowed = torch.zeros(sum(counts), small.items + 1, dtype=torch.bool)
    allowed[:, 1:] = not sampled
    if candidates is not None:
        allowed[:, candidates] = True
    if leaves_out_own:
        for rows, items in zip(allowed.split(counts), owns, strict=True):
            rows[:, items] = False
    allowed[torch.arange(sum(counts)), positives] = True
    logits = states[:, : model.config.item_dim] @ model.item.weight.T
    logits = logits.masked_fill(~allowed, -torch.inf)
    expected = torch.nn.functional.cross_entropy(logits, positives, reduction="sum")
    row = torch.full((small.items + 1,), -1)
    chosen = torch.arange(1, small.items + 1) if candidates is None else candidates
    row[chosen] = torch.arange(len(chosen))
    vectors = model.item(torch.cat([positives, chosen]))
    wanted, table = vectors.split([len(positives), len(chosen)])
    actual = cross_entropy(states, positives, wanted, table, row, own)
    torch.testing.assert_close(actual, expected)
    gradients = [
        torch.autograd.grad(loss, (states, model.item.weight), retain_graph=True)
        for loss in (expected, actual)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_papers_loss_scores_candidates_with_the_users_half(small: Dataset) -> None:
    torch.manual_seed(0)
    model = SSEPT(config_for(small)).eval()
    state = model.encode(torch.tensor([3]), torch.tensor([[4]]))[0, 0]

    def logit(item: int) -> Tensor:
        candidate = torch.cat([model.item.weight[item], model.user.weight[3] * 8**0.5])
        return state @ candidate

    expected = -torch.log(torch.sigmoid(logit(5))) - torch.log(1 - torch.sigmoid(logit(6)))
    one = [torch.tensor([value]) for value in (3, 5, 6)]
    actual = binary_cross_entropy(
        model, one[0], state[None], model.item(one[1]), model.item(one[2])
    )
    torch.testing.assert_close(actual, expected)


def test_dropout_drops_the_share_it_says_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(0.2), torch.ones(1000, 101, requires_grad=True)
    y = dropout(x)
    assert (y == 0).float().mean().item() == pytest.approx(dropout.p, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert torch.equal(dropout.eval()(x), x)
    assert not torch.equal(dropout.train()(x), y)


def test_the_average_of_the_weights_is_what_is_kept(small: Dataset, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, average=0.9)
    run = TrainingRun(small, config_for(small), settings, tmp_path / "m.safetensors", "small")
    run.epoch()
    last, kept = run.model.item.weight, run.result.item.weight
    assert not torch.equal(last, kept)
    assert torch.equal(run.best_checkpoint().model.item.weight, kept)


def test_the_rate_is_lowered_to_zero(small: Dataset, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, decay_epochs=2)
    run = TrainingRun(small, config_for(small), settings, tmp_path / "m.safetensors", "small")
    for _ in range(2):
        run.epoch()
    weights = run.model.item.weight.clone()
    run.epoch()
    assert torch.equal(weights, run.model.item.weight)
