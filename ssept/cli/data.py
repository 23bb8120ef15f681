"""`ssept data`: download or prepare MovieLens files, or make the synthetic data set."""

import argparse
from pathlib import Path

from ssept.cli.arguments import number, positive, whole
from ssept.data.download import DATASETS, GROUPLENS, download
from ssept.data.transfer import URL_VARIABLE

HELP = "download or prepare MovieLens files, or make synthetic data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_download(
        commands.add_parser("download", help="download raw MovieLens files from GroupLens")
    )
    prepare = commands.add_parser(
        "prepare",
        help="convert raw MovieLens files to train.csv, val.csv, test.csv, items.csv and "
        "manifest.json",
        formatter_class=parser.formatter_class,
    )
    prepare.add_argument("source", type=Path, help="raw ratings, a folder or a file")
    prepare.add_argument("out", type=Path, help="the folder to write")
    prepare.add_argument(
        "--split",
        default="leave-one-out",
        choices=("leave-one-out", "global-time"),
        help="targets: each user's last two items, or all items after two points in time",
    )
    prepare.add_argument("--min-rating", type=number, help="smallest rating to keep")
    prepare.add_argument(
        "--min-user", type=whole, default=0, help="k-core: fewest ratings of a user"
    )
    prepare.add_argument(
        "--min-item", type=whole, default=0, help="k-core: fewest ratings of an item"
    )
    prepare.set_defaults(run=_prepare)
    synthetic = commands.add_parser(
        "synthetic",
        help="the synthetic data set, the same on every machine",
        formatter_class=parser.formatter_class,
    )
    synthetic.add_argument("out", type=Path, help="the folder to write")
    synthetic.add_argument("--users", type=positive, default=10_000, help="number of users")
    synthetic.add_argument("--items", type=positive, default=10_000, help="number of items")
    synthetic.add_argument("--seed", type=whole, default=20_260, help="seed of the random numbers")
    synthetic.set_defaults(run=_synthetic)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", choices=DATASETS, metavar="NAME", help=f"one of {', '.join(DATASETS)}"
    )
    parser.add_argument("out", type=Path, help="the folder to write; absent or empty")
    parser.add_argument(
        "--url",
        help=f"base address of a mirror (default: ${URL_VARIABLE}, or else {GROUPLENS})",
    )
    parser.set_defaults(run=_download)


def _download(arguments: argparse.Namespace) -> None:
    dataset = DATASETS[arguments.name]
    out = download(dataset, arguments.out, base_url=arguments.url)
    print(f"{out}: {', '.join(dataset.files)}; {dataset.files[-1]} holds the terms of use")
    print("next: `ssept data prepare`, or MOVIELENS_DATA_DIR with this folder")


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
