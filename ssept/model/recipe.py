"""Recipes: the settings of a training run, and presets of sizes and settings by name."""

from dataclasses import dataclass
from typing import Any

LOSSES = ("ce", "bce")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training run does; a preset has its own values for some of these defaults.

    Attributes:
        loss: "ce", cross-entropy over the catalog or sampled negatives, or the paper's "bce".
        negatives: sampled negatives a batch for "ce"; 0 takes the whole catalog.
        leave_out_own: for "ce", leave the user's other training items out of the softmax.
        batch_size: training windows in a batch.
        batch_items: have more windows in a batch where their items would be fewer on average.
        learning_rate: Adam's, with its second beta at 0.98 as in the paper.
        decay_epochs: lower the rate to zero along a cosine until this epoch; 0 keeps it.
        keep_user, keep_item: SSE's probability of keeping an id.
        random_start: the probability of a training window at a random place.
        cover: several windows of a history that is longer than one, so that all of it is learned.
        average: the decay of a moving average of the weights, which then is the model; 0 for none.
        init_std: the standard deviation of new embeddings; 0 for one over the root of the width.
        epochs: the largest number of epochs.
        max_minutes: train for this time at most, but at least one epoch.
        patience: stop after this number of epochs without a better validation NDCG@10.
        validation_users: the number of users, chosen at random, that decide on stopping.
        seed: of initialisation, windows, SSE and negatives.
    """

    loss: str = "ce"
    negatives: int = 0
    leave_out_own: bool = False
    batch_size: int = 128
    batch_items: int = 0
    learning_rate: float = 3e-3
    decay_epochs: int = 0
    keep_user: float = 0.2
    keep_item: float = 0.98
    random_start: float = 0.9
    cover: bool = False
    average: float = 0.0
    init_std: float = 0.0
    epochs: int = 1000
    max_minutes: float = 60.0
    patience: int = 10
    validation_users: int = 3000
    seed: int = 1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; expected one of {', '.join(LOSSES)}")


# Sizes of the network and settings of the run that differ from their defaults.
BEST: dict[str, Any] = {
    "item_dim": 64,
    "user_dim": 32,
    "max_length": 200,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "leave_out_own": True,
    "batch_items": 4096,
    "learning_rate": 2e-3,
    "keep_user": 0.1,
    "keep_item": 0.95,
    "random_start": 0.0,
    "cover": True,
    "average": 0.995,
    "init_std": 0.02,
    "max_minutes": 120.0,
}
PRESETS: dict[str, dict[str, Any]] = {
    "best": BEST,
    "edge": BEST | {"user_dim": 16, "max_length": 50, "batch_size": 256},
    "paper": {
        "item_dim": 50,
        "user_dim": 50,
        "max_length": 200,
        "loss": "bce",
        "learning_rate": 1e-3,
        "keep_user": 0.08,
        "keep_item": 0.9,
        "random_start": 0.0,
        "max_minutes": 600.0,
        "patience": 20,
    },
}
