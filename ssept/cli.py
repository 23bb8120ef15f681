"""`ssept …`: each command a thin call into the library."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ssept.errors import SseptError

MEGABYTE = 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that a user can mend end in one line and exit code 1."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except SseptError as error:
        print(f"ssept: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ssept: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssept",
        description="Benchmark SSE-PT, a sequential recommender, in the ways it can be served.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_data(commands.add_parser("data", help="prepare MovieLens files, or make synthetic data"))
    _add_train(
        commands.add_parser(
            "train",
            help="train a checkpoint on a data set",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
    )
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    prepare = commands.add_parser(
        "prepare",
        help="raw MovieLens files to train.csv, val.csv, test.csv, items.csv and manifest.json",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    prepare.add_argument("source", type=Path, help="a folder of raw files")
    prepare.add_argument("out", type=Path, help="the folder to write")
    prepare.add_argument(
        "--split",
        default="leave-one-out",
        choices=("leave-one-out", "global-time"),
        help="each user's last two items as targets, or everything after two moments in time",
    )
    prepare.add_argument("--min-rating", type=float, help="keep ratings of at least this")
    prepare.add_argument("--min-user", type=int, default=0, help="k-core: ratings a user needs")
    prepare.add_argument("--min-item", type=int, default=0, help="k-core: ratings an item needs")
    prepare.set_defaults(run=_prepare)
    synthetic = commands.add_parser(
        "synthetic",
        help="the embedded data set, made up and the same everywhere",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    synthetic.add_argument("out", type=Path, help="the folder to write")
    synthetic.add_argument("--users", type=int, default=10_000, help="users")
    synthetic.add_argument("--items", type=int, default=10_000, help="items")
    synthetic.add_argument("--seed", type=int, default=20_260, help="another seed, other data")
    synthetic.set_defaults(run=_synthetic)


def _prepare(arguments: argparse.Namespace) -> None:
    from ssept.data.prepare import prepare

    manifest = prepare(
        arguments.source,
        arguments.out,
        split=arguments.split,
        min_rating=arguments.min_rating,
        min_user=arguments.min_user,
        min_item=arguments.min_item,
    )
    _tell_counts(manifest["counts"], arguments.out)


def _synthetic(arguments: argparse.Namespace) -> None:
    from ssept.data.synthetic import prepare_synthetic

    manifest = prepare_synthetic(
        arguments.out, users=arguments.users, items=arguments.items, seed=arguments.seed
    )
    _tell_counts(manifest["counts"], arguments.out)


def _tell_counts(counts: dict[str, int], out: Path) -> None:
    print(
        f"{out}: {counts['users']:,} users, {counts['items']:,} items; "
        f"{counts['train']:,} train, {counts['val']:,} val, {counts['test']:,} test"
    )


SIZES = {
    "item_dim": "width of the item embedding",
    "user_dim": "width of the user embedding",
    "max_length": "longest sequence, in items",
    "blocks": "transformer blocks",
    "heads": "attention heads",
    "dropout": "probability of dropping",
}
SETTINGS = {
    "loss": "ce (cross-entropy over the catalog, or sampled) or the paper's bce",
    "negatives": "sampled negatives a batch for ce; 0 for the whole catalog",
    "batch_size": "sequences a batch",
    "learning_rate": "Adam's",
    "keep_user": "SSE: probability of keeping a sequence's user",
    "keep_item": "SSE: probability of keeping an item",
    "random_start": "probability of a training window at a random place",
    "epochs": "at most so many",
    "max_minutes": "stop after the epoch in which this time has passed",
    "patience": "stop after so many epochs without a better validation NDCG@10",
    "validation_users": "users that decide on stopping",
    "seed": "of everything random",
}


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        default=None,
        help="raw MovieLens files or a prepared folder; left out: the synthetic data",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="the checkpoint to write; left out: in the cache, where the benchmarks look",
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


if __name__ == "__main__":
    sys.exit(main())
