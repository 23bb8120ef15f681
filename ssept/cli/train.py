"""`ssept train`: a checkpoint from a data set."""

import argparse
from dataclasses import fields
from pathlib import Path

from ssept.errors import SseptError

HELP = "train a checkpoint on a data set"
MEGABYTE = 1e6
SIZES = {
    "item_dim": "width of the item embedding",
    "user_dim": "width of the user embedding",
    "max_length": "longest sequence, in items",
    "blocks": "transformer blocks",
    "heads": "attention heads",
    "dropout": "dropout probability",
}
SETTINGS = {
    "loss": "ce (cross-entropy over the catalog, or sampled) or the paper's bce",
    "negatives": "sampled negatives per batch for ce; 0: the whole catalog",
    "batch_size": "sequences per batch",
    "learning_rate": "learning rate of Adam",
    "keep_user": "SSE: probability of keeping a sequence's user",
    "keep_item": "SSE: probability of keeping an item",
    "random_start": "probability of a training window at a random place",
    "epochs": "the largest number of epochs",
    "max_minutes": "stop after the epoch in which this time has passed",
    "patience": "stop after this number of epochs without a better validation NDCG@10",
    "validation_users": "number of users whose NDCG@10 decides on stopping",
    "seed": "seed of all random numbers",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        default=None,
        help="folder of raw MovieLens files, or prepared folder (default: the synthetic data)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="checkpoint file to write (default: one in the cache, where the benchmarks find it)",
    )
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0 for all cores")
    # The library that holds the defaults needs torch; without it the help still prints.
    try:
        from ssept.model.network import SSEPTConfig
        from ssept.model.train import TrainingSettings
    except ImportError as error:
        missing = error.name
        parser.set_defaults(run=lambda _: _refuse_without(missing))
        return
    for table, about in ((SSEPTConfig, SIZES), (TrainingSettings, SETTINGS)):
        for field in fields(table):
            if field.name in about:
                parser.add_argument(
                    f"--{field.name.replace('_', '-')}",
                    type=type(field.default),
                    default=field.default,
                    help=about[field.name],
                )
    parser.set_defaults(run=_train)


def _refuse_without(package: str | None) -> None:
    raise SseptError(f"training needs {package}: install the train extra")


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from ssept.data.dataset import load_dataset
    from ssept.data.prepare import prepared
    from ssept.data.synthetic import prepared_synthetic
    from ssept.model.network import SSEPTConfig
    from ssept.model.store import SUFFIX, trained_folder
    from ssept.model.train import TrainingSettings, train

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    folder = prepared(arguments.data) if arguments.data else prepared_synthetic()
    dataset = load_dataset(folder)
    chosen = vars(arguments)
    try:
        config = SSEPTConfig(dataset.users, dataset.items, **{name: chosen[name] for name in SIZES})
        settings = TrainingSettings(**{name: chosen[name] for name in SETTINGS})
    except ValueError as error:
        raise SseptError(str(error)) from error
    name = (arguments.data or folder).resolve().name
    out = arguments.out or trained_folder() / f"{name}-{dataset.data_hash[:8]}{SUFFIX}"
    trained = train(dataset, config, settings, out, name).training
    print(
        f"{out}: {out.stat().st_size / MEGABYTE:.1f} MB, "
        f"validation NDCG@10 {trained['validation_ndcg@10']:.4f} "
        f"(best epoch {trained['best_epoch']} of {trained['epochs_run']}, "
        f"{trained['seconds'] / 60:.1f} minutes)"
    )
