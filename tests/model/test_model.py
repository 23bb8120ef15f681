"""The network: padding, causality, positions from the right, ids outside the tables."""

from itertools import product

import numpy as np
import pytest
import torch

from ssept.model.network import SSEPT, SSEPTConfig


@pytest.fixture(scope="module", params=[(1, 1), (2, 1), (3, 2)], ids=["1x1", "2x1", "3x2"])
def model(request: pytest.FixtureRequest) -> SSEPT:
    blocks, heads = request.param
    torch.manual_seed(1)
    config = SSEPTConfig(9, 30, item_dim=6, user_dim=4, max_length=8, blocks=blocks, heads=heads)
    model = SSEPT(config).eval()
    for parameter in model.parameters():  # biases and norms start at 0 and 1: hide nothing there
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        model.item.weight[0] = 0
    return model


def scores(model: SSEPT, user: list[int], sequence: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor(user), torch.tensor(sequence))


def reference(model: SSEPT, user: int, sequence: list[int]) -> np.ndarray:
    """The published layer order in NumPy, one position after another, float64."""
    c = model.config
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-8)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    length = len(sequence)
    states = []
    for place, item in enumerate(sequence):
        e = np.concatenate(
            [
                w["item.weight"][item] * np.sqrt(c.item_dim),
                w["user.weight"][user] * np.sqrt(c.user_dim),
            ]
        )
        e = e + w["position.weight"][c.max_length - length + place]
        states.append(e if item else np.zeros(c.dim))
    size = c.dim // c.heads
    for block in range(c.blocks):
        at = f"blocks.{block}"
        new = []
        for place, item in enumerate(sequence):
            if not item:
                new.append(np.zeros(c.dim))
                continue
            seen = [j for j in range(place + 1) if sequence[j]]
            normed = norm(states[place], f"{at}.attention_norm")
            q = linear(normed, f"{at}.attention.query")
            mixed = np.zeros(c.dim)
            for head in range(c.heads):
                part = slice(head * size, (head + 1) * size)
                logits = np.array(
                    [q[part] @ linear(states[j], f"{at}.attention.key")[part] for j in seen]
                ) / np.sqrt(size)
                weights = np.exp(logits - logits.max())
                weights /= weights.sum()
                for weight, j in zip(weights, seen, strict=True):
                    mixed[part] += weight * linear(states[j], f"{at}.attention.value")[part]
            y = norm(mixed + normed, f"{at}.feed_forward_norm")
            hidden = np.maximum(linear(y, f"{at}.feed_forward.0"), 0)
            new.append(linear(hidden, f"{at}.feed_forward.3") + y)
        states = new
    return w["item.weight"] @ norm(states[-1], "norm")[: c.item_dim]


@pytest.mark.parametrize("sequence", [[3], [1, 2, 3], [0, 0, 7, 5, 7], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_it_computes_what_the_paper_says(model: SSEPT, sequence: list[int]) -> None:
    actual = scores(model, [4], [sequence])[0].numpy()
    np.testing.assert_allclose(actual, reference(model, 4, sequence), atol=2e-4)


def test_padding_on_the_left_changes_nothing(model: SSEPT) -> None:
    short = scores(model, [2], [[5, 9, 11]])
    padded = scores(model, [2], [[0, 0, 0, 0, 0, 5, 9, 11]])
    torch.testing.assert_close(short, padded, atol=1e-5, rtol=1e-5)


def test_later_items_do_not_reach_earlier_positions(model: SSEPT) -> None:
    user = torch.tensor([1, 1])
    sequence = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 9]])
    states = model.encode(user, sequence)
    torch.testing.assert_close(states[0, :3], states[1, :3])
    assert not torch.allclose(states[0, 3], states[1, 3])


def test_user_order_and_history_all_matter(model: SSEPT) -> None:
    base = scores(model, [1], [[1, 2, 3]])
    for user, sequence in ((2, [1, 2, 3]), (1, [2, 1, 3]), (1, [4, 2, 3])):
        assert not torch.allclose(base, scores(model, [user], [sequence]), atol=1e-3)


@pytest.mark.parametrize(("user", "item"), [*product([-1, 10, 2**62], [-5, 31, 2**62])])
def test_unknown_ids_count_as_user_0_and_padding(model: SSEPT, user: int, item: int) -> None:
    actual = scores(model, [user], [[item, 5, 9]])
    torch.testing.assert_close(actual, scores(model, [0], [[0, 5, 9]]))


def test_an_empty_history_has_finite_scores(model: SSEPT) -> None:
    assert scores(model, [1], [[0, 0, 0]]).isfinite().all()


def test_user_0_is_the_mean_of_the_trained_users(model: SSEPT) -> None:
    model.set_unknown_user()
    torch.testing.assert_close(model.user.weight[0], model.user.weight[1:].mean(0))


@pytest.mark.parametrize("wrong", [{"items": 0}, {"heads": 3}, {"dropout": 1.0}, {"blocks": 0}])
def test_sizes_that_make_no_network_are_refused(wrong: dict[str, int]) -> None:
    sizes = {"users": 5, "items": 5} | wrong
    with pytest.raises(ValueError, match=r"expected|divide"):
        SSEPTConfig(**sizes)
