"""`ssept sweep`: which layers of the rewritten network to store and multiply in INT8."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ssept.cli.arguments import positive, positives, seconds
from ssept.cli.gate import DATA_VARIABLE
from ssept.data.dataset import data_hash, load_dataset
from ssept.data.prepare import prepared
from ssept.data.synthetic import prepared_synthetic
from ssept.errors import CheckpointError
from ssept.model.store import checkpoint_for, read_about
from ssept.percent import share
from ssept.providers import PROVIDERS
from ssept.variants import build

if TYPE_CHECKING:
    from ssept.decide.sweep.measure import SweepPlan
    from ssept.decide.sweep.search import SweepResult

HELP = "choose which layers of the rewritten network are in INT8, by measured speed and accuracy"
EPILOG = (
    "Method: (1) everything in FP32 is the reference. (2) Each layer alone in INT8 is timed "
    "against it, call by call in pairs, and its NDCG@10 compared. It pays where the geometric "
    "mean of its ratios over the batch sizes is above 1 by its interval, or is above 0.99 and the "
    "file is smaller. (3) All that pay are taken together; while they may lose more than is "
    "allowed, the one goes that loses most for the speed it gains. (4) Each chosen layer is put "
    "back and each other one added, one at a time, timed against the set itself; the best change "
    "that pays and loses no more than is allowed is made, and so on until none pays, ten times at "
    "most. Every measurement is kept in --out: run again, an interrupted sweep goes on; with "
    "another loss allowed, it uses them again."
)
DATA_OF_ITS_OWN = "synthetic"
ONNX_PROVIDERS = [name for name, provider in PROVIDERS.items() if "onnx" in provider.formats]
BATCH_SIZES = (1, 64)
SECONDS = 3.0
MAX_LOSS = "1%"
OUT = Path("results/sweep.json")
LISTEN_SECONDS = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="the checkpoint (default: the one that was trained on the data, which for the "
        "embedded data is the shipped one)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get(DATA_VARIABLE) or None,
        metavar="DIR",
        help="what the checkpoint was trained on, prepared or raw, for the accuracy (default: "
        f"${DATA_VARIABLE}, or else the embedded synthetic data)",
    )
    parser.add_argument(
        "--users", type=positive, metavar="N", help="compare the accuracy for so many users only"
    )
    parser.add_argument(
        "--provider", default="cpu", choices=ONNX_PROVIDERS, help="what runs the files"
    )
    parser.add_argument(
        "--batch-sizes",
        type=positives,
        default=list(BATCH_SIZES),
        metavar="SIZES",
        help=f"of calls, separated by commas (default: {','.join(map(str, BATCH_SIZES))})",
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of a call")
    parser.add_argument(
        "--max-loss",
        type=_max_loss,
        default=MAX_LOSS,
        metavar="SHARE",
        help="how much of the NDCG@10 may be lost; the lower end of its interval decides",
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=SECONDS,
        metavar="S",
        help="of the timed calls of two files at a batch size; longer where 120 pairs take longer",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="FILE",
        help="JSON of all that was measured, the machine and the choice",
    )
    parser.set_defaults(run=_sweep)


def _sweep(arguments: argparse.Namespace) -> None:
    from ssept.report.sweep import sweep_table

    found = _run(_plan(arguments), arguments.out)
    print(f"{sweep_table(found)}\nwritten to {arguments.out}")


def _run(plan: "SweepPlan", out: Path) -> "SweepResult":
    """Measure, with a bar that shows what is being measured."""
    from ssept.decide.sweep.run import run_sweep
    from ssept.measure.doctor import examine, warnings_of

    for warning in warnings_of(examine(LISTEN_SECONDS)):
        print(f"ssept: {warning}", file=sys.stderr)
    with tqdm(unit="set", file=sys.stderr, disable=None) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = total, done
            bar.refresh()

        return run_sweep(plan, out, show)


def _plan(arguments: argparse.Namespace) -> "SweepPlan":
    from ssept.decide.sweep.measure import SweepPlan

    folder = _data(arguments.checkpoint, arguments.data_dir)
    checkpoint = checkpoint_for(data_hash(folder), folder, arguments.checkpoint)
    return SweepPlan(
        checkpoint,
        build(checkpoint, "torch").model,
        load_dataset(folder),
        arguments.users,
        arguments.provider,
        tuple(dict.fromkeys(arguments.batch_sizes)),
        arguments.threads,
        arguments.seconds,
        arguments.max_loss,
    )


def _data(checkpoint: Path | None, data: Path | None) -> Path:
    """The prepared folder of the data to rank on."""
    if data:
        return prepared(data)
    if checkpoint:
        name = read_about(checkpoint)["data"]["name"]
        if not name.startswith(DATA_OF_ITS_OWN):
            raise CheckpointError(
                f"{checkpoint}: trained on {name or 'data that it does not name'}: name their "
                "folder with --data-dir"
            )
    return prepared_synthetic()


def _max_loss(text: str) -> float:
    try:
        loss = share(text)
    except ValueError:
        loss = 1.0
    if loss >= 1:
        raise argparse.ArgumentTypeError(
            f"{text}: expected a share from 0 up and below 100%, as 1% or 0.01"
        )
    return loss
