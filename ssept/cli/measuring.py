"""Parts of the commands that measure: the data, a progress bar and noise warnings."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ssept.cli.parsers import Options
from ssept.data.prepare import prepared
from ssept.data.synthetic import prepared_synthetic
from ssept.errors import CheckpointError
from ssept.model.store import read_about

DATA_VARIABLE = "MOVIELENS_DATA_DIR"
EMBEDDED = "synthetic"
NOISE_CHECK_SECONDS = 0.3


def add_data_dir(parser: Options, purpose: str) -> None:
    """Declare --data-dir; `purpose` begins its help."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get(DATA_VARIABLE) or None,
        metavar="DIR",
        help=f"{purpose} (default: ${DATA_VARIABLE}, or else the embedded synthetic data)",
    )


def data_folder(checkpoints: Sequence[Path], data: Path | None) -> Path:
    """Return the prepared folder of the data that was named, or of the embedded data.

    Raises:
        CheckpointError: no data were named, and a checkpoint was trained on others than those.
    """
    if data:
        return prepared(data)
    for checkpoint in checkpoints:
        name = read_about(checkpoint)["data"]["name"]
        if not name.startswith(EMBEDDED):
            raise CheckpointError(
                f"{checkpoint}: trained on {name or 'data without a name'}: give the folder of "
                "these data with --data-dir"
            )
    return prepared_synthetic()


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
