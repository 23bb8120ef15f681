"""`ssept sweep`: the choice of layers of the rewritten network to run in INT8."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import positive, positives, seconds, share_below_one
from ssept.cli.measuring import add_data_dir, data_folder, progress_bar, warn_of_noise
from ssept.data.dataset import data_hash, load_dataset
from ssept.model.store import checkpoint_for
from ssept.providers import PROVIDERS
from ssept.variants import build

if TYPE_CHECKING:
    from ssept.decide.sweep.measure import SweepPlan
    from ssept.decide.sweep.search import SweepResult

HELP = "choose the layers of the rewritten network to run in INT8, by measured speed and accuracy"
EPILOG = (
    "Method: (1) everything in FP32 is the reference. (2) Each layer alone in INT8 is timed "
    "against it, call by call in pairs, and its NDCG@10 is compared. It pays if the geometric "
    "mean of its ratios over the batch sizes is above 1 by its interval, or is above 0.99 and the "
    "file is smaller. (3) All layers that pay are combined. As long as the combination may lose "
    "more than --max-loss, the layer with the largest loss for its gain in speed is removed. (4) "
    "Each change of one layer is timed against the current set, and the best change that pays and "
    "loses no more than --max-loss is applied. This is repeated until no change pays, at most ten "
    "times. Every measurement is stored in --out: an interrupted sweep continues from it, and a "
    "sweep with a different --max-loss uses the measurements again."
)
EXAMPLES = {
    "choose the INT8 layers for ONNX Runtime on the CPU": "ssept sweep",
    "choose them for OpenVINO, with at most 0.5 % loss": (
        "ssept sweep --provider=openvino --max-loss=0.5%"
    ),
}
ONNX_PROVIDERS = [name for name, provider in PROVIDERS.items() if "onnx" in provider.formats]
BATCH_SIZES = (1, 64)
SECONDS = 3.0
MAX_LOSS = "1%"
OUT = Path("results/sweep.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    model = parser.add_argument_group("model and data")
    model.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="the checkpoint (default: the one that was trained on the data; for the embedded "
        "data, the shipped one)",
    )
    add_data_dir(model, "data that the checkpoint was trained on, prepared or raw")
    model.add_argument(
        "--users", type=positive, metavar="N", help="compare the accuracy for only N users"
    )
    timing = parser.add_argument_group("timing")
    timing.add_argument(
        "--provider",
        default="cpu",
        choices=ONNX_PROVIDERS,
        metavar="NAME",
        help=f"execution provider of the files: one of {', '.join(ONNX_PROVIDERS)}",
    )
    timing.add_argument(
        "--batch-sizes",
        type=positives,
        default=list(BATCH_SIZES),
        metavar="SIZES",
        help=f"batch sizes, separated by commas (default: {','.join(map(str, BATCH_SIZES))})",
    )
    timing.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="threads of a call"
    )
    parser.add_argument(
        "--max-loss",
        type=share_below_one,
        default=MAX_LOSS,
        metavar="SHARE",
        help="accepted relative loss of NDCG@10; the lower end of its interval decides",
    )
    timing.add_argument(
        "--seconds",
        type=seconds,
        default=SECONDS,
        metavar="S",
        help="length of the timed loop of two files; longer if 120 pairs take longer",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="FILE",
        help="JSON file of the measurements, the machine and the choice",
    )
    parser.set_defaults(run=_sweep)


def _sweep(arguments: argparse.Namespace) -> None:
    from ssept.report.sweep import sweep_table

    found = _run(_plan(arguments), arguments.out)
    print(f"{sweep_table(found)}\nwritten to {arguments.out}")


def _run(plan: "SweepPlan", out: Path) -> "SweepResult":
    """Measure, with a progress bar."""
    from ssept.decide.sweep.run import run_sweep

    warn_of_noise()
    with progress_bar("set") as show:
        return run_sweep(plan, out, show)


def _plan(arguments: argparse.Namespace) -> "SweepPlan":
    from ssept.decide.sweep.measure import SweepPlan

    chosen = [arguments.checkpoint] if arguments.checkpoint else []
    folder = data_folder(chosen, arguments.data_dir)
    checkpoint = checkpoint_for(data_hash(folder), folder, arguments.checkpoint)
    return SweepPlan(
        checkpoint=checkpoint,
        model=build(checkpoint, "torch").model,
        dataset=load_dataset(folder),
        users=arguments.users,
        provider=arguments.provider,
        batch_sizes=tuple(dict.fromkeys(arguments.batch_sizes)),
        threads=arguments.threads,
        seconds=arguments.seconds,
        max_loss=arguments.max_loss,
    )
