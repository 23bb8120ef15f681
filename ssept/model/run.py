"""A training run: its network, optimiser and progress, saved after each epoch."""

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ssept.data.dataset import Cases, Dataset
from ssept.errors import CheckpointError, MetricsError, TrainingError
from ssept.evaluation import full_ranks
from ssept.files import written_file
from ssept.metrics import ndcg
from ssept.model.checkpoint import Checkpoint, save_checkpoint
from ssept.model.losses import binary_cross_entropy, cross_entropy
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.packed import encode_packed, scorer
from ssept.model.recipe import TrainingSettings
from ssept.model.windows import NegativeSampler, WindowBatch, WindowReader, WindowSettings
from ssept.model.workers import Workers


@dataclass
class Progress:
    """The progress of a run: what a resumed run needs beside the network and the optimiser."""

    epoch: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


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
        """Start a run, or go on with one that was interrupted.

        Raises:
            DataError: the paper's loss finds no negative for a user.
            CheckpointError: the state beside `out` is broken, or of a run with other settings.
        """
        torch.manual_seed(settings.seed)
        self.dataset, self.settings, self.out, self.name = dataset, settings, out, name
        self.workers = Workers()
        self.model = SSEPT(config)
        if settings.init_std:
            with torch.no_grad():
                for table in (self.model.item, self.model.user, self.model.position):
                    table.weight.mul_(settings.init_std * math.sqrt(config.dim))
        # Fused: one pass over the weights instead of ten.
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True
        )
        average = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=average) if settings.average else None
        self.sampler = NegativeSampler(dataset) if settings.loss == "bce" else None
        self.own = [torch.from_numpy(np.unique(history)) for history in dataset.train]
        windows = WindowSettings(
            max_length=config.max_length,
            batch_size=settings.batch_size,
            batch_items=settings.batch_items,
            keep_user=settings.keep_user,
            keep_item=settings.keep_item,
            random_start=settings.random_start,
            cover=settings.cover,
        )
        self.reader = WindowReader(dataset, windows)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.validation = _sample(dataset.cases("val"), settings.validation_users)
        self.state_path = state_path(out)
        self.identity = {
            "config": asdict(config),
            "settings": asdict(settings),
            "data": dataset.data_hash,
        }
        self._resume()

    @property
    def finished(self) -> bool:
        """Whether a limit of the settings is reached."""
        progress, settings = self.progress, self.settings
        next_s = progress.seconds / progress.epoch if progress.epoch else 0.0
        return (
            progress.epoch >= settings.epochs
            or progress.seconds + next_s > settings.max_minutes * 60
            or progress.epoch - progress.best_epoch >= settings.patience
        )

    @property
    def result(self) -> SSEPT:
        """The network that is judged and kept: the average where there is one."""
        network = self.average.module if self.average else self.model
        assert isinstance(network, SSEPT)
        return network

    def epoch(self) -> None:
        """Train one epoch, validate, and save the state."""
        start = time.monotonic()
        random = np.random.default_rng([self.settings.seed, self.progress.epoch])
        torch.manual_seed(int(random.integers(2**31)) + self.workers.rank)
        loss = self.train_epoch(random)
        score = self._validate()
        self.progress.epoch += 1
        if score > self.progress.best_ndcg:
            self.progress.best_ndcg, self.progress.best_epoch = score, self.progress.epoch
            self.best = {k: v.detach().clone() for k, v in self.result.state_dict().items()}
        self.progress.seconds += self.workers.of_first(time.monotonic() - start)
        self.progress.history.append({"loss": loss, "ndcg": score})
        if self.workers.first:
            self._save()

    def best_checkpoint(self) -> Checkpoint:
        """Return the best epoch's checkpoint, and write it to `out`."""
        self.result.load_state_dict(self.best)
        progress = self.progress
        training = asdict(self.settings) | {
            "epochs_run": progress.epoch,
            "best_epoch": progress.best_epoch,
            "validation_ndcg@10": progress.best_ndcg,
            "seconds": round(progress.seconds, 1),
        }
        data = {"name": self.name, "data_hash": self.dataset.data_hash}
        checkpoint = Checkpoint(
            self.result.eval(), data, self.dataset.user_ids, self.dataset.item_ids, training
        )
        if self.workers.first:
            save_checkpoint(checkpoint, self.out)
            self.state_path.unlink(missing_ok=True)
        return checkpoint

    def train_epoch(self, random: np.random.Generator) -> float:
        """Train one epoch, and return the mean loss of a position, averaged over the batches."""
        self.model.train()
        losses: list[float] = []
        for batch in self._shown(self.reader.batches(random)):
            self._set_rate(self.progress.epoch + len(losses) / self.reader.count())
            own = batch.part(self.workers.rank, self.workers.count)
            loss = self._loss(own, random) / len(batch.inputs)
            self.optimizer.zero_grad(set_to_none=True)
            if len(own.inputs):
                loss.backward()  # type: ignore[no-untyped-call]
            value = loss.detach()
            self.workers.sum([value])
            losses.append(value.item())
            if not math.isfinite(losses[-1]):
                raise self._useless(f"loss is {'NaN' if math.isnan(losses[-1]) else 'infinite'}")
            self.workers.sum_gradients(self.model.parameters())
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.model)
        self.model.eval()
        return float(np.mean(losses))

    def _shown(self, batches: Iterable[WindowBatch]) -> Iterable[WindowBatch]:
        hidden = None if self.workers.first else True
        total = self.reader.count()
        shown: Iterable[WindowBatch] = tqdm(
            batches, total=total, unit="batch", leave=False, disable=hidden
        )
        return shown

    def _set_rate(self, epoch: float) -> None:
        if self.settings.decay_epochs:
            part = min(epoch / self.settings.decay_epochs, 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * (1 + math.cos(math.pi * part)) / 2

    def _loss(self, batch: WindowBatch, random: np.random.Generator) -> Tensor:
        """Sum the loss over the positions of a batch."""
        model, settings = self.model, self.settings
        users = np.repeat(batch.user, batch.lengths)
        if self.sampler:
            others = self.sampler.draw(users, random)
        else:
            whole = not 0 < settings.negatives < self.dataset.items
            drawn = () if whole else random.choice(self.dataset.items, settings.negatives, False)
            others = np.asarray(drawn, np.int64) + 1
        ids = (batch.inputs, batch.positives, others)
        # One lookup: the gradient of each is as large as the table.
        vectors = model.item(torch.from_numpy(np.concatenate(ids)))
        inputs, positives, candidates = torch.split(vectors, [*map(len, ids)])
        states = encode_packed(model, torch.from_numpy(batch.user), inputs, batch.lengths.tolist())
        if self.sampler:
            return binary_cross_entropy(
                model, torch.from_numpy(users), states, positives, candidates
            )
        row = torch.arange(-1, self.dataset.items)
        if len(others):
            row = torch.full_like(row, -1)
            row[torch.from_numpy(others)] = torch.arange(len(others))
        table = candidates if len(others) else model.item.weight[1:]
        own = [
            (int(length), self.own[owner - 1])
            for owner, length in zip(batch.owner, batch.lengths, strict=True)
            if settings.leave_out_own
        ]
        wanted = torch.from_numpy(batch.positives)
        return cross_entropy(states, wanted, positives, table, row, own)

    def _validate(self) -> float:
        """Compute NDCG@10 of the validation users, each process its share of them."""
        network, workers = self.result.eval(), self.workers
        network.set_unknown_user()
        rows = np.arange(len(self.validation))[workers.rank :: workers.count]
        try:
            ranks = full_ranks(
                scorer(network), self.validation.take(rows), network.config.max_length
            )
        except MetricsError as error:
            raise self._useless("a score is NaN") from error
        return float(workers.interleaved(ndcg(ranks, 10), len(self.validation)).mean())

    def _useless(self, fault: str) -> TrainingError:
        kept = f"; {self.state_path} contains the previous epoch" if self.progress.epoch else ""
        return TrainingError(
            f"{fault} in epoch {self.progress.epoch + 1}; train with a learning rate below "
            f"{self.settings.learning_rate:g}{kept}"
        )

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        with written_file(self.state_path) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        file = self.workers.file_of_first(self.state_path)
        if file is None:
            return
        try:
            state: dict[str, Any] = torch.load(file, weights_only=True)
        except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
            raise CheckpointError(
                f"{self.state_path}: not the state of an interrupted run; delete the file to "
                "start over"
            ) from error
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{self.state_path}: the state of an interrupted run with other settings or "
                "data; repeat the command of that run to continue it, or delete the file"
            )
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.progress = Progress(**state["progress"])


def state_path(out: Path) -> Path:
    """Where the state of a run lies until the run ends: beside the checkpoint that it writes."""
    return out.with_name(out.name + ".training")


def _sample(cases: Cases, count: int) -> Cases:
    """At most `count` cases, the same ones each time."""
    return cases.take(np.sort(np.random.default_rng(0).permutation(len(cases))[:count]))
