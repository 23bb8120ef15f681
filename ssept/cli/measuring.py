"""Parts of the commands that measure: the data, a progress bar and noise warnings."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

DATA_VARIABLE = "MOVIELENS_DATA_DIR"
NOISE_CHECK_SECONDS = 0.3


def add_data_dir(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Declare --data-dir; `purpose` begins its help."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get(DATA_VARIABLE) or None,
        metavar="DIR",
        help=f"{purpose} (default: ${DATA_VARIABLE}, or else the embedded synthetic data)",
    )


def warn_of_noise() -> None:
    """Print what makes measurements on this machine less exact, if anything does."""
    from ssept.measure.doctor import examine, warnings_of

    for warning in warnings_of(examine(NOISE_CHECK_SECONDS)):
        print(f"ssept: {warning}", file=sys.stderr)


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar; yields a function that takes a description, the count and the total."""
    with tqdm(unit=unit, file=sys.stderr, disable=None) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = total, done
            bar.refresh()

        yield show
