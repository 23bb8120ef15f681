"""How long an epoch takes: ours, a plain SASRec of torch's own layers, and the least possible time.

Run it alone on the machine:

    python -m tests.helpers.training_speed --data-dir=ml1m.txt

An epoch of each, over the latest items of each user, follows one of the others, `--rounds` times;
the figures are medians. The least time is the products of an epoch, counted without padding, at
the rate of a large product of matrices that is measured between the epochs.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssept.data.dataset import Dataset, left_padded, load_dataset
from ssept.data.prepare import prepared
from ssept.measure.machine import read_machine
from ssept.model.network import SSEPTConfig
from ssept.model.recipe import PRESETS, TrainingSettings
from ssept.model.run import TrainingRun

GIGA = 1e9
SIZES = ("item_dim", "user_dim", "max_length", "blocks", "heads", "dropout", "attention_dropout")


class PlainSASRec(nn.Module):
    """SASRec as one writes it: padded batches, torch's encoder layers, scores of all positions."""

    def __init__(self, items: int, config: SSEPTConfig) -> None:
        super().__init__()
        dim, dropout = config.item_dim, config.dropout
        self.item = nn.Embedding(items + 1, dim, padding_idx=0)
        self.position = nn.Embedding(config.max_length, dim)
        layer = nn.TransformerEncoderLayer(dim, 1, dim, dropout, batch_first=True, norm_first=True)
        if config.attention_dropout is not None:
            layer.self_attn.dropout = config.attention_dropout
        self.encoder = nn.TransformerEncoder(layer, config.blocks, nn.LayerNorm(dim), False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: Tensor) -> Tensor:
        """Score every item at every position: int64[B, L] to float32[B, L, items + 1]."""
        length = sequence.shape[1]
        x = self.item(sequence) * self.item.embedding_dim**0.5 + self.position.weight[:length]
        later = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        x = self.encoder(self.dropout(x), later)
        return x @ self.item.weight.T


def plain_epoch(
    model: PlainSASRec, dataset: Dataset, settings: TrainingSettings, length: int
) -> None:
    """Train an epoch on the latest items of each user."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98))
    model.train()
    order = np.random.default_rng(0).permutation(dataset.users)
    for start in range(0, len(order), settings.batch_size):
        chosen = [dataset.train[user] for user in order[start : start + settings.batch_size]]
        window = torch.from_numpy(left_padded(chosen, length + 1))
        inputs, positives = window[:, :-1], window[:, 1:]
        logits = model(inputs)
        positives = positives.masked_fill(inputs == 0, 0)
        loss = functional.cross_entropy(logits.flatten(0, 1), positives.flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@dataclass
class Work:
    """The products of an epoch, forward and backward, without padding."""

    tokens: int
    operations: float


def work(dataset: Dataset, config: SSEPTConfig, settings: TrainingSettings) -> Work:
    """Count two operations for each multiply-add; backward takes twice those of forward."""
    lengths = np.minimum([len(history) - 1 for history in dataset.train], config.max_length)
    tokens, d = int(lengths.sum()), config.dim
    candidates = settings.negatives or dataset.items
    layers = 2 * 5 * d * d * config.blocks * tokens
    attention = 2 * 2 * d * config.blocks * float((lengths * (lengths + 1.0) / 2).sum())
    scores = 2 * config.item_dim * candidates * tokens
    return Work(tokens, 3 * (layers + attention + scores))


def product_rate() -> float:
    """Operations a second of a large product of float32 matrices."""
    a, b = torch.randn(2, 2048, 2048)
    a @ b
    start = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2 * 2048**3 / (time.perf_counter() - start)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="best")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    dataset = load_dataset(prepared(arguments.data_dir))
    preset = PRESETS[arguments.preset]
    sizes = {name: preset[name] for name in SIZES if name in preset}
    settings = TrainingSettings(
        **{name: value for name, value in preset.items() if name not in SIZES} | {"cover": False}
    )
    config = SSEPTConfig(dataset.users, dataset.items, **sizes)
    without = SSEPTConfig(dataset.users, dataset.items, **sizes | {"user_dim": 0})
    plain = PlainSASRec(dataset.items, config)
    with TemporaryDirectory() as folder:
        runs = {
            name: TrainingRun(dataset, sized, settings, Path(folder) / name, name)
            for name, sized in (("preset", config), ("without users", without))
        }
        random = np.random.default_rng(0)
        epochs: dict[str, Callable[[], object]] = {
            "preset": lambda: runs["preset"].train_epoch(random),
            "without users": lambda: runs["without users"].train_epoch(random),
            "plain SASRec": lambda: plain_epoch(plain, dataset, settings, config.max_length),
        }
        seconds: dict[str, list[float]] = {name: [] for name in epochs}
        rates = [product_rate()]
        for number in range(arguments.rounds):
            for name, epoch in epochs.items():
                start = time.perf_counter()
                epoch()
                seconds[name].append(time.perf_counter() - start)
                rates.append(product_rate())
                print(f"{number}: {name} {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    rate = median(rates)
    bounds = {
        "preset": work(dataset, config, settings),
        "without users": work(dataset, without, settings),
    }
    facts = {
        "machine": read_machine().cpu,
        "threads": torch.get_num_threads(),
        "GFLOP/s of a product": round(rate / GIGA, 1),
        "tokens": bounds["preset"].tokens,
        "seconds": {name: [round(each, 2) for each in of] for name, of in seconds.items()},
        "median seconds": {name: round(median(of), 2) for name, of in seconds.items()},
        "times the least": {
            name: round(median(seconds[name]) * rate / of.operations, 2)
            for name, of in bounds.items()
        },
        "plain SASRec / without users": round(
            median(
                plain / own
                for plain, own in zip(
                    seconds["plain SASRec"], seconds["without users"], strict=True
                )
            ),
            2,
        ),
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
