"""SSE-PT: a personalised transformer for sequential recommendation.

Wu, Li, Hsieh, Sharpnack: "SSE-PT: Sequential Recommendation Via Personalized Transformer",
RecSys 2020. Layer order and scalings follow the authors' own implementation.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssept.data import LARGEST_ID
from ssept.model.dropout import Dropout

# Large enough for a softmax weight of exactly zero in float32, small enough not to stretch the
# range of a quantized attention score.
MASKED = -1e4
LAYER_NORM_EPSILON = 1e-8


@dataclass(frozen=True)
class SSEPTConfig:
    """The sizes of a network.

    Attributes:
        users: trained users; user 0 stands for an unknown one.
        items: the catalog; item 0 is padding.
        item_dim, user_dim: the widths of the two embeddings; the network is as wide as their sum.
            A user_dim of 0 leaves the users out: SASRec's input.
        max_length: the longest sequence, in items.
        blocks, heads: transformer blocks, and attention heads in each.
        dropout: the probability of dropping, in training only.
        attention_dropout: the same of attention weights; None for that of `dropout`.
    """

    users: int
    items: int
    item_dim: int = 50
    user_dim: int = 50
    max_length: int = 50
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2
    attention_dropout: float | None = None

    def __post_init__(self) -> None:
        for name in ("users", "items", "item_dim", "user_dim", "max_length", "blocks", "heads"):
            value = getattr(self, name)
            least = int(name != "user_dim")
            if not isinstance(value, int) or not least <= value <= LARGEST_ID:
                raise ValueError(f"{name} is {value!r:.40}; expected a number of at least {least}")
        if self.dim % self.heads:
            raise ValueError(f"a width of {self.dim} does not divide into {self.heads} heads")
        for name in ("dropout", "attention_dropout"):
            share = getattr(self, name)
            if share is not None and not 0 <= share < 1:
                raise ValueError(f"{name} is {share}; expected 0 <= {name} < 1")

    @property
    def dim(self) -> int:
        """The width of the network."""
        return self.item_dim + self.user_dim

    @property
    def parameters(self) -> int:
        """How many numbers the network has, known without making it."""
        tables = (self.items + 1) * self.item_dim + (self.users + 1) * self.user_dim
        norm, layer = 2 * self.dim, self.dim * (self.dim + 1)
        return tables + self.max_length * self.dim + self.blocks * (2 * norm + 5 * layer) + norm


class Attention(nn.Module):
    """Causal attention without an output projection; queries come normed, keys and values raw."""

    def __init__(self, config: SSEPTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.dim, config.dim)
        self.key = nn.Linear(config.dim, config.dim)
        self.value = nn.Linear(config.dim, config.dim)
        dropped = config.dropout if config.attention_dropout is None else config.attention_dropout
        self.dropout = Dropout(dropped)

    def forward(self, normed: Tensor, raw: Tensor, allowed: Tensor) -> Tensor:
        """Attend: float32[B, L, d] twice and bool[B, 1, L, L] to float32[B, L, d]."""
        batch, length, dim = raw.shape

        def split_heads(x: Tensor) -> Tensor:
            return x.view(batch, length, self.heads, dim // self.heads).transpose(1, 2)

        q, k, v = (
            split_heads(self.query(normed)),
            split_heads(self.key(raw)),
            split_heads(self.value(raw)),
        )
        weights = q @ k.transpose(-1, -2) / math.sqrt(dim / self.heads)
        weights = self.dropout(weights.masked_fill(~allowed, MASKED).softmax(-1))
        return torch.reshape((weights @ v).transpose(1, 2), (batch, length, dim))


class Block(nn.Module):
    """Attention and a two-layer network, each with the normed input as its residual."""

    def __init__(self, config: SSEPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPSILON)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPSILON)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.dim, config.dim),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.dim, config.dim),
            Dropout(config.dropout),
        )

    def forward(self, x: Tensor, allowed: Tensor, real: Tensor) -> Tensor:
        """One block: float32[B, L, d] to float32[B, L, d], zero at padding."""
        normed = self.attention_norm(x)
        y = self.feed_forward_norm(self.attention(normed, x, allowed) + normed)
        z: Tensor = (self.feed_forward(y) + y) * real
        return z


class SSEPT(nn.Module):
    """The network. `forward` gives what serving needs: a score for each item of the catalog."""

    def __init__(self, config: SSEPTConfig) -> None:
        super().__init__()
        self.config = config
        self.item = nn.Embedding(config.items + 1, config.item_dim, padding_idx=0)
        self.user = nn.Embedding(config.users + 1, config.user_dim)
        self.position = nn.Embedding(config.max_length, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPSILON)
        for table in (self.item, self.user, self.position):
            nn.init.normal_(table.weight, std=1 / math.sqrt(config.dim))
        with torch.no_grad():
            self.item.weight[0] = 0

    def encode(self, user: Tensor, sequence: Tensor) -> Tensor:
        """States after the last norm: int64[B] and int64[B, L <= max_length] to float32[B, L, d].

        Positions are counted from the right, so a sequence without padding and the same one
        padded on the left give the same last state.
        """
        length = sequence.shape[1]
        item_part = self.item(sequence) * math.sqrt(self.config.item_dim)
        user_part = self.user(user) * math.sqrt(self.config.user_dim)
        x = torch.cat([item_part, user_part[:, None].expand(-1, length, -1)], dim=-1)
        is_item = sequence != 0
        real = is_item[..., None].to(x.dtype)
        x = x + self.position.weight[self.config.max_length - length :]
        x = self.dropout(x) * real
        order = torch.arange(length, device=sequence.device)
        allowed = (is_item[:, None, :] & (order[None, :] <= order[:, None]))[:, None]
        for block in self.blocks:
            x = block(x, allowed, real)
        states: Tensor = self.norm(x)
        return states

    def state(self, user: Tensor, sequence: Tensor) -> Tensor:
        """Item half of the last state: int64[B] and int64[B, L] to float32[B, item_dim].

        An item id outside the catalog counts as padding, an unknown user as user 0.
        """
        known_user = (user >= 0) & (user <= self.config.users)
        known_item = (sequence >= 0) & (sequence <= self.config.items)
        user = torch.where(known_user, user, 0)
        sequence = torch.where(known_item, sequence, 0)
        return self.encode(user, sequence)[:, -1, : self.config.item_dim]

    def forward(self, user: Tensor, sequence: Tensor) -> Tensor:
        """Scores of the next item: int64[B] and int64[B, L] to float32[B, items + 1].

        The user's half of the candidate, the same for every item, is left out: it changes no
        ranking. Ids as for `state`.
        """
        return self.state(user, sequence) @ self.item.weight.T

    @torch.no_grad()
    def set_unknown_user(self) -> None:
        """Make user 0 the mean of the trained users."""
        self.user.weight[0] = self.user.weight[1:].mean(0)
