"""Training: epochs until validation no longer improves, resumable after any of them."""

import sys
from pathlib import Path

from tqdm import tqdm

from ssept.data.dataset import Dataset
from ssept.errors import DataError
from ssept.model.checkpoint import Checkpoint
from ssept.model.network import SSEPTConfig
from ssept.model.recipe import TrainingSettings
from ssept.model.run import TrainingRun


def train(
    dataset: Dataset, config: SSEPTConfig, settings: TrainingSettings, out: Path, name: str
) -> Checkpoint:
    """Train on `dataset`, write the best epoch's checkpoint to `out` and return it.

    The state after each epoch lies beside `out` until the run ends; a run that was interrupted
    goes on from there when it is started again with the same settings. Several processes that
    `torchrun` started share the batches, and the first of them writes.

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
        desc=f"training on {name}",
        unit="epoch",
        initial=run.progress.epoch,
        disable=None if run.workers.first else True,
    ) as bar:
        while not run.finished:
            run.epoch()
            last, best = run.progress.history[-1], run.progress.best_ndcg
            figures = (
                f"loss {last['loss']:.3f}, NDCG@10 {last['ndcg']:.4f}, best {best:.4f}, "
                f"{run.progress.seconds / 60:.1f} minutes, "
                f"at most {settings.max_minutes:g}"
            )
            bar.set_postfix_str(figures)
            bar.update()
            if bar.disable and run.workers.first:  # no terminal: a line an epoch, for logs
                print(f"epoch {run.progress.epoch}: {figures}", file=sys.stderr, flush=True)
    checkpoint = run.best_checkpoint()
    run.workers.leave()
    return checkpoint
