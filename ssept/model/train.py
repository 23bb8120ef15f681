"""Training: epochs of windows, early stopping on validation, resumable after any epoch."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ssept.data.dataset import Cases, Dataset
from ssept.errors import CheckpointError, DataError, MetricsError, TrainingError
from ssept.evaluation import full_ranks
from ssept.files import written_file
from ssept.metrics import ndcg
from ssept.model.checkpoint import Checkpoint, save_checkpoint
from ssept.model.losses import binary_cross_entropy, cross_entropy
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.windows import NegativeSampler, WindowBatch, WindowSettings, training_batches

LOSSES = ("ce", "bce")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training run does; the defaults suit MovieLens on a CPU.

    Attributes:
        loss: "ce", cross-entropy over the catalog or sampled negatives, or the paper's "bce".
        negatives: sampled negatives a batch for "ce"; 0 takes the whole catalog.
        learning_rate: Adam's, with its second beta at 0.98 as in the paper.
        keep_user, keep_item: SSE's probability of keeping an id.
        random_start: the probability of a training window at a random place.
        epochs: the largest number of epochs.
        max_minutes: stop after the epoch in which this time has passed.
        patience: stop after this number of epochs without a better validation NDCG@10.
        validation_users: the number of users, chosen at random, that decide on stopping.
        seed: of initialisation, windows, SSE and negatives.
    """

    loss: str = "ce"
    negatives: int = 0
    batch_size: int = 128
    learning_rate: float = 3e-3
    keep_user: float = 0.2
    keep_item: float = 0.98
    random_start: float = 0.9
    epochs: int = 1000
    max_minutes: float = 60.0
    patience: int = 10
    validation_users: int = 3000
    seed: int = 1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; expected one of {', '.join(LOSSES)}")


@dataclass
class Progress:
    """The progress of a run: what a resumed run needs beside the network and the optimiser."""

    epoch: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    dataset: Dataset, config: SSEPTConfig, settings: TrainingSettings, out: Path, name: str
) -> Checkpoint:
    """Train on `dataset`, write the best epoch's checkpoint to `out` and return it.

    The state after each epoch lies beside `out` until the run ends; a run that was interrupted
    goes on from there when it is started again with the same settings.

    Raises:
        DataError: the data set has no validation targets to stop on, or nothing to learn from.
        TrainingError: the loss or the scores are NaN or infinite.
        CheckpointError: the state beside `out` is of a run with other settings or data.
    """
    if not len(dataset.cases("val")):
        raise DataError(f"{dataset.folder / 'val.csv'}: no targets; training stops on validation")
    if max(map(len, dataset.train)) < 2:
        raise DataError(
            f"{dataset.folder / 'train.csv'}: no user has two items; there is nothing to learn from"
        )
    run = TrainingRun(dataset, config, settings, out, name)
    with tqdm(
        desc=f"training on {name}", unit="epoch", initial=run.progress.epoch, disable=None
    ) as bar:
        while not run.finished:
            run.epoch()
            last, best = run.progress.history[-1], run.progress.best_ndcg
            figures = f"loss {last['loss']:.3f}, NDCG@10 {last['ndcg']:.4f}, best {best:.4f}"
            bar.set_postfix_str(figures)
            bar.update()
            if bar.disable:  # no terminal: a line an epoch, for logs
                print(f"epoch {run.progress.epoch}: {figures}", file=sys.stderr, flush=True)
    run.state_path.unlink(missing_ok=True)
    return run.best_checkpoint()


class TrainingRun:
    """A network in training, its optimiser and its progress."""

    def __init__(
        self,
        dataset: Dataset,
        config: SSEPTConfig,
        settings: TrainingSettings,
        out: Path,
        name: str,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.dataset, self.settings, self.out, self.name = dataset, settings, out, name
        self.model = SSEPT(config)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98)
        )
        self.sampler = NegativeSampler(dataset) if settings.loss == "bce" else None
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.validation = _sample(dataset.cases("val"), settings.validation_users)
        self.state_path = state_path(out)
        self.identity = {
            "config": asdict(config),
            "settings": asdict(settings),
            "data": dataset.data_hash,
        }
        if self.state_path.exists():
            self._resume()

    @property
    def finished(self) -> bool:
        """Whether a limit of the settings is reached."""
        progress, settings = self.progress, self.settings
        return (
            progress.epoch >= settings.epochs
            or progress.seconds >= settings.max_minutes * 60
            or progress.epoch - progress.best_epoch >= settings.patience
        )

    def epoch(self) -> None:
        """Train one epoch, validate, and save the state."""
        start = time.monotonic()
        random = np.random.default_rng([self.settings.seed, self.progress.epoch])
        torch.manual_seed(int(random.integers(2**31)))
        loss = self._train_epoch(random)
        self.model.set_unknown_user()
        try:
            ranks = full_ranks(scorer(self.model), self.validation, self.model.config.max_length)
        except MetricsError as error:
            raise self._useless("a score is NaN") from error
        score = float(ndcg(ranks, 10).mean())
        self.progress.epoch += 1
        if score > self.progress.best_ndcg:
            self.progress.best_ndcg, self.progress.best_epoch = score, self.progress.epoch
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.progress.seconds += time.monotonic() - start
        self.progress.history.append({"loss": loss, "ndcg": score})
        self._save()

    def best_checkpoint(self) -> Checkpoint:
        """Write the checkpoint of the best epoch to `out`."""
        self.model.load_state_dict(self.best)
        progress = self.progress
        training = asdict(self.settings) | {
            "epochs_run": progress.epoch,
            "best_epoch": progress.best_epoch,
            "validation_ndcg@10": progress.best_ndcg,
            "seconds": round(progress.seconds, 1),
        }
        data = {"name": self.name, "data_hash": self.dataset.data_hash}
        checkpoint = Checkpoint(
            self.model.eval(), data, self.dataset.user_ids, self.dataset.item_ids, training
        )
        save_checkpoint(checkpoint, self.out)
        return checkpoint

    def _train_epoch(self, random: np.random.Generator) -> float:
        settings = self.settings
        windows = WindowSettings(
            self.model.config.max_length,
            settings.batch_size,
            settings.keep_user,
            settings.keep_item,
            settings.random_start,
        )
        self.model.train()
        losses = []
        batches = training_batches(self.dataset, windows, random)
        total = -(-self.dataset.users // settings.batch_size)
        for batch in tqdm(batches, total=total, unit="batch", leave=False, disable=None):
            loss = self._loss(batch, random)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise self._useless(f"loss is {'NaN' if math.isnan(losses[-1]) else 'infinite'}")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.model.eval()
        return float(np.mean(losses))

    def _loss(self, batch: WindowBatch, random: np.random.Generator) -> Tensor:
        settings = self.settings
        user, inputs, positives = map(
            torch.from_numpy, (batch.user, batch.inputs.copy(), batch.positives.copy())
        )
        if self.sampler:
            drawn = self.sampler.draw(batch.user, batch.inputs.shape[1], random)
            return binary_cross_entropy(
                self.model, user, inputs, positives, torch.from_numpy(drawn)
            )
        negatives = None
        if settings.negatives:
            drawn = random.integers(1, self.dataset.items + 1, settings.negatives)
            negatives = torch.from_numpy(drawn)
        return cross_entropy(self.model, user, inputs, positives, negatives)

    def _useless(self, fault: str) -> TrainingError:
        kept = f"; {self.state_path} has the epoch before" if self.progress.epoch else ""
        return TrainingError(
            f"{fault} in epoch {self.progress.epoch + 1}; train with a learning rate below "
            f"{self.settings.learning_rate:g}{kept}"
        )

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        with written_file(self.state_path) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        try:
            state: dict[str, Any] = torch.load(self.state_path, weights_only=True)
        except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
            raise CheckpointError(
                f"{self.state_path}: not the state of an interrupted run; delete the file to "
                "start over"
            ) from error
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{self.state_path}: the state of an interrupted run with other settings or "
                "data; repeat that run's command to go on with it, or delete the file"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.progress = Progress(**state["progress"])


def state_path(out: Path) -> Path:
    """Where the state of a run lies until the run ends: beside the checkpoint that it writes."""
    return out.with_name(out.name + ".training")


def scorer(model: SSEPT) -> Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], Any]:
    """Wrap the network as a function of arrays: int64[B], int64[B, L] to float32[B, items+1]."""

    def scores(user: npt.NDArray[np.int64], sequence: npt.NDArray[np.int64]) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(user), torch.from_numpy(sequence)).numpy()

    return scores


def _sample(cases: Cases, count: int) -> Cases:
    """At most `count` cases, the same ones each time."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(cases))[:count])
    return Cases(cases.users[chosen], [cases.histories[i] for i in chosen], cases.targets[chosen])
