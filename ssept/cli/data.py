"""`ssept data`: download or prepare MovieLens files, or make the synthetic data set."""

import argparse
from pathlib import Path

from ssept.cli.arguments import number, positive, whole
from ssept.cli.parsers import add_command
from ssept.data.download import DATASETS, GROUPLENS, download
from ssept.data.transfer import URL_VARIABLE

HELP = "download or prepare MovieLens files, or make synthetic data"
EXAMPLES = {
    "download the raw files of MovieLens 1M": "ssept data download ml-1m raw",
    "split them into training, validation and test sets": "ssept data prepare raw prepared",
    "make the synthetic data set": "ssept data synthetic synthetic",
}
DOWNLOAD_EXAMPLES = {
    "download MovieLens 1M into the folder raw": "ssept data download ml-1m raw",
    "download a data set from a mirror": (
        "ssept data download ml-32m raw --url=https://mirror.example/movielens"
    ),
}
PREPARE_EXAMPLES = {
    "hold out the last two items of each user": "ssept data prepare raw prepared",
    "split at two points in time, and keep users and items with 5 ratings or more": (
        "ssept data prepare raw prepared --split=global-time --min-user=5 --min-item=5"
    ),
    "keep ratings of 4 and more from one file": (
        "ssept data prepare ratings.csv prepared --min-rating=4"
    ),
}
SYNTHETIC_EXAMPLES = {
    "make the default data set": "ssept data synthetic synthetic",
    "make a small one": "ssept data synthetic small --users=1000 --items=500",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_download(
        add_command(
            commands,
            "download",
            "download raw MovieLens files from GroupLens",
            DOWNLOAD_EXAMPLES,
        )
    )
    prepare = add_command(
        commands,
        "prepare",
        "convert raw MovieLens files to train.csv, val.csv, test.csv, items.csv and manifest.json",
        PREPARE_EXAMPLES,
    )
    prepare.add_argument("source", type=Path, help="raw ratings, a folder or a file")
    prepare.add_argument("out", type=Path, help="the folder to write")
    prepare.add_argument(
        "--split",
        default="leave-one-out",
        choices=("leave-one-out", "global-time"),
        help="targets: the last two items of each user (leave-one-out), or all items after two "
        "points in time (global-time)",
    )
    prepare.add_argument("--min-rating", type=number, metavar="N", help="leave out smaller ratings")
    prepare.add_argument(
        "--min-user",
        type=whole,
        metavar="N",
        default=0,
        help="k-core filter: smallest number of ratings per user",
    )
    prepare.add_argument(
        "--min-item",
        type=whole,
        metavar="N",
        default=0,
        help="k-core filter: smallest number of ratings per item",
    )
    prepare.set_defaults(run=_prepare)
    synthetic = add_command(
        commands,
        "synthetic",
        "make the synthetic data set, which is the same on every machine",
        SYNTHETIC_EXAMPLES,
    )
    synthetic.add_argument("out", type=Path, help="the folder to write")
    synthetic.add_argument(
        "--users", type=positive, metavar="N", default=10_000, help="number of users"
    )
    synthetic.add_argument(
        "--items", type=positive, metavar="N", default=10_000, help="number of items"
    )
    synthetic.add_argument(
        "--seed", type=whole, metavar="N", default=20_260, help="seed of the random numbers"
    )
    synthetic.set_defaults(run=_synthetic)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", choices=list(DATASETS), metavar="NAME", help=f"one of {', '.join(DATASETS)}"
    )
    parser.add_argument("out", type=Path, help="the folder to write; it must be absent or empty")
    parser.add_argument(
        "--url",
        help=f"base address of a mirror (default: ${URL_VARIABLE}, or else {GROUPLENS})",
    )
    parser.set_defaults(run=_download)


def _download(arguments: argparse.Namespace) -> None:
    dataset = DATASETS[arguments.name]
    out = download(dataset, arguments.out, base_url=arguments.url)
    print(f"{out}: {', '.join(dataset.files)}; {dataset.files[-1]} contains the terms of use")
    print("next: run `ssept data prepare`, or set MOVIELENS_DATA_DIR to this folder")


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
