"""`ssept train`: a checkpoint from a data set."""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ssept.cli.arguments import (
    minutes,
    number_above_zero,
    positive,
    probability,
    share_below_one,
    whole,
)
from ssept.errors import SseptError
from ssept.files import check_model_path

HELP = "train a checkpoint on a data set"
MEGABYTE = 1e6
Options = dict[str, tuple[Callable[[str], Any], str]]  # how each is read, and its help
SIZES: Options = {
    "item_dim": (positive, "width of the item embedding"),
    "user_dim": (positive, "width of the user embedding"),
    "max_length": (positive, "longest sequence, in items"),
    "blocks": (positive, "transformer blocks"),
    "heads": (positive, "attention heads"),
    "dropout": (share_below_one, "dropout probability"),
}
SETTINGS: Options = {
    "loss": (str, "ce (cross-entropy over the catalog, or sampled) or the paper's bce"),
    "negatives": (whole, "sampled negatives per batch for ce; 0: the whole catalog"),
    "batch_size": (positive, "sequences per batch"),
    "learning_rate": (number_above_zero, "learning rate of Adam"),
    "keep_user": (probability, "SSE: probability of keeping a sequence's user"),
    "keep_item": (probability, "SSE: probability of keeping an item"),
    "random_start": (probability, "probability of a training window at a random place"),
    "epochs": (positive, "the largest number of epochs"),
    "max_minutes": (minutes, "stop after the epoch in which this time has passed"),
    "patience": (positive, "stop after this number of epochs without a better validation NDCG@10"),
    "validation_users": (positive, "number of users whose NDCG@10 decides on stopping"),
    "seed": (whole, "seed of all random numbers"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        default=None,
        help="raw ratings, a file or a folder, or a prepared folder (default: the synthetic data)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="checkpoint file to write (default: one in the cache, where the benchmarks find it)",
    )
    parser.add_argument("--threads", type=whole, default=0, help="torch's threads; 0 for all cores")
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
                read, text = about[field.name]
                option = f"--{field.name.replace('_', '-')}"
                parser.add_argument(option, type=read, default=field.default, help=text)
    parser.set_defaults(run=_train)


def _refuse_without(package: str | None) -> None:
    raise SseptError(f"training needs {package}: install the train extra")


def _check_out(out: Path) -> None:
    """Check, before anything starts, that a checkpoint can be written."""
    from ssept.model.train import state_path

    check_model_path(out)
    for path in (out, state_path(out)):
        if path.exists() and not path.is_file():
            raise SseptError(f"{path}: is no plain file; expected the name of a file to write")
    folder = next(path for path in out.absolute().parents if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SseptError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder for {out.name}"
        ) from error


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from ssept.data.dataset import load_dataset
    from ssept.data.prepare import prepared
    from ssept.data.synthetic import prepared_synthetic
    from ssept.model.network import SSEPTConfig
    from ssept.model.store import SUFFIX, trained_folder
    from ssept.model.train import TrainingSettings, train

    chosen = vars(arguments)
    sizes = {name: chosen[name] for name in SIZES}
    try:
        SSEPTConfig(1, 1, **sizes)
        settings = TrainingSettings(**{name: chosen[name] for name in SETTINGS})
    except ValueError as error:
        raise SseptError(str(error)) from error
    if arguments.out:
        _check_out(arguments.out)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    folder = prepared(arguments.data) if arguments.data else prepared_synthetic()
    dataset = load_dataset(folder)
    config = SSEPTConfig(dataset.users, dataset.items, **sizes)
    name = (arguments.data or folder).resolve().name
    out = arguments.out or trained_folder() / f"{name}-{dataset.data_hash[:8]}{SUFFIX}"
    trained = train(dataset, config, settings, out, name).training
    print(
        f"{out}: {out.stat().st_size / MEGABYTE:.1f} MB, "
        f"validation NDCG@10 {trained['validation_ndcg@10']:.4f} "
        f"(best epoch {trained['best_epoch']} of {trained['epochs_run']}, "
        f"{trained['seconds'] / 60:.1f} minutes)"
    )
