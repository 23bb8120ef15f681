"""`ssept train`: a checkpoint from a data set."""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ssept.cli.arguments import (
    amount,
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
EXAMPLES = {
    "train on the synthetic data": "ssept train",
    "train on prepared data, and name the file": "ssept train prepared --out=model.safetensors",
    "train a small model, for an hour at most": (
        "ssept train prepared --preset=edge --max-minutes=60"
    ),
}
MEGABYTE = 1e6
Options = dict[str, tuple[Callable[[str], Any], str]]  # how each is read, and its help
SIZES: Options = {
    "item_dim": (positive, "width of the item embedding"),
    "user_dim": (whole, "width of the user embedding; 0: a model without users"),
    "max_length": (positive, "longest sequence, in items"),
    "blocks": (positive, "transformer blocks"),
    "heads": (positive, "attention heads"),
    "dropout": (share_below_one, "dropout probability"),
    "attention_dropout": (share_below_one, "dropout probability of attention weights"),
}
SETTINGS: Options = {
    "loss": (str, "ce (cross-entropy over the catalog, or sampled) or the paper's bce"),
    "negatives": (whole, "sampled negatives per batch for ce; 0: the whole catalog"),
    "batch_size": (positive, "sequences per batch, or more: see --batch-items"),
    "batch_items": (
        whole,
        "smallest number of items per batch, so that short sequences train as fast as long",
    ),
    "learning_rate": (number_above_zero, "learning rate of Adam"),
    "decay_epochs": (
        whole,
        "decrease the learning rate to zero until this epoch; 0: keep it constant",
    ),
    "keep_user": (probability, "SSE: probability of keeping a sequence's user"),
    "keep_item": (probability, "SSE: probability of keeping an item"),
    "random_start": (probability, "probability of a training window at a random place"),
    "average": (share_below_one, "decay of a moving average of the weights; 0: none"),
    "init_std": (amount, "standard deviation of new embeddings; 0: 1 over the root of the width"),
    "epochs": (positive, "largest number of epochs"),
    "max_minutes": (minutes, "train for this time at most, but at least one epoch"),
    "patience": (positive, "stop after this number of epochs without a better validation NDCG@10"),
    "validation_users": (positive, "number of users whose NDCG@10 decides on stopping"),
    "seed": (whole, "seed of all random numbers"),
}
FLAGS = {
    "leave_out_own": "for ce: leave the user's other training items out of the softmax",
    "cover": "cover each long history with several windows",
}
STOPPING = ("epochs", "max_minutes", "patience", "validation_users")
WINDOWS = ("keep_user", "keep_item", "random_start", "cover")
GROUPS = {
    "network": tuple(SIZES),
    "training sequences": WINDOWS,
    "optimization": tuple(
        name for name in (*SETTINGS, *FLAGS) if name not in (*WINDOWS, *STOPPING)
    ),
    "end of the training": STOPPING,
}
DEFAULT_PRESET = "best"


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
        metavar="FILE",
        help="checkpoint file to write (default: one in the cache, where the benchmarks find it)",
    )
    parser.add_argument(
        "--threads", type=whole, default=0, metavar="N", help="threads of torch; 0: all cores"
    )
    # The library that holds the defaults needs torch; without it the help still prints.
    try:
        from ssept.model.network import SSEPTConfig
        from ssept.model.recipe import PRESETS, TrainingSettings
    except ImportError as error:
        missing = error.name
        parser.set_defaults(run=lambda _: _refuse_without(missing))
        return
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default=DEFAULT_PRESET,
        help="named sizes and settings; the options below override single values",
    )
    known = (*fields(SSEPTConfig), *fields(TrainingSettings))
    defaults = {each.name: each.default for each in known}
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add_setting(
                group, name, {key: own.get(name, defaults[name]) for key, own in PRESETS.items()}
            )
    parser.set_defaults(run=_train)


def _add_setting(group: argparse._ArgumentGroup, name: str, of_presets: dict[str, Any]) -> None:
    """Declare the option of a size, setting or flag, with its default in each preset."""
    option, default = f"--{name.replace('_', '-')}", f"(default: {_by_preset(of_presets)})"
    if name in FLAGS:
        group.add_argument(
            option,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=f"{FLAGS[name]} {default}",
        )
    else:
        read, text = (SIZES | SETTINGS)[name]
        group.add_argument(
            option,
            type=read,
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=f"{text} {default}",
        )


def _by_preset(defaults: dict[str, Any]) -> str:
    """Write the default of each preset, or the one of all."""
    shown = {name: _shown(value) for name, value in defaults.items()}
    if len(set(shown.values())) == 1:
        return shown[DEFAULT_PRESET]
    return ", ".join(f"{value} for {name}" for name, value in shown.items())


def _shown(value: object) -> str:
    if value is None:
        return "as --dropout"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_without(package: str | None) -> None:
    raise SseptError(f"training needs {package}: install the train extra")


def _check_out(out: Path) -> None:
    """Check, before anything starts, that a checkpoint can be written."""
    from ssept.model.run import state_path

    check_model_path(out)
    for path in (out, state_path(out)):
        if path.exists() and not path.is_file():
            raise SseptError(f"{path}: is not a regular file; expected the name of a file to write")
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
    from ssept.model.recipe import PRESETS, TrainingSettings
    from ssept.model.store import SUFFIX, trained_folder
    from ssept.model.train import train
    from ssept.model.workers import is_first

    chosen = PRESETS[arguments.preset] | vars(arguments)
    sizes = {name: chosen[name] for name in SIZES if name in chosen}
    try:
        SSEPTConfig(1, 1, **sizes)
        settings = TrainingSettings(
            **{name: chosen[name] for name in (*SETTINGS, *FLAGS) if name in chosen}
        )
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
    if not is_first():
        return
    print(
        f"{out}: {out.stat().st_size / MEGABYTE:.1f} MB, "
        f"validation NDCG@10 {trained['validation_ndcg@10']:.4f} "
        f"(best epoch {trained['best_epoch']} of {trained['epochs_run']}, "
        f"{trained['seconds'] / 60:.1f} minutes)"
    )
