"""`ssept tune`: a search for the best settings of a cell on this machine."""

import argparse
from dataclasses import asdict
from pathlib import Path

from ssept.cli.arguments import positive, seconds
from ssept.cli.onnx_names import add_onnx_names, described
from ssept.errors import SseptError
from ssept.installation import shipped_checkpoint
from ssept.measure.settings import Settings, default_path, write_settings
from ssept.providers import PROVIDERS, load

HELP = "search threads, options and batch size of a variant on a provider, by paired measurement"
EXAMPLES = {
    "find the settings with the shortest call": "ssept tune --variant=fused_topk",
    "find the settings and the batch size with the highest throughput": (
        "ssept tune --variant=fused_int8_topk --provider=openvino --objective=throughput"
    ),
}
BATCHES = (1, 2, 4, 8, 16, 32, 64)
OBJECTIVES = ("latency", "throughput")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--variant", default="onnx", metavar="NAME", help="the variant to tune")
    parser.add_argument(
        "--provider",
        default="cpu",
        choices=list(PROVIDERS),
        metavar="NAME",
        help=f"the provider that runs it: one of {', '.join(PROVIDERS)}",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=shipped_checkpoint(),
        metavar="FILE",
        help="a checkpoint, an ONNX file, or a folder of artifacts",
    )
    add_onnx_names(parser)
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default=OBJECTIVES[0],
        help="latency: for the batch size of --batch; throughput: also search the batch size",
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="sequences per call")
    parser.add_argument(
        "--budget", type=seconds, default=120, metavar="S", help="seconds for the search"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=default_path(),
        metavar="FILE",
        help="file that stores the best settings of each cell",
    )
    parser.set_defaults(run=_tune)


def _tune(arguments: argparse.Namespace) -> None:
    try:
        from ssept.decide.tune import space_of, tune
    except ImportError as error:
        raise SseptError(f"tuning needs {error.name}: install the tune extra") from error

    model = described(arguments.model, arguments.onnx_names) or arguments.model
    artifact = load(model, arguments.variant, arguments.provider).artifact
    batches = BATCHES if arguments.objective == "throughput" else (arguments.batch,)
    found = tune(
        artifact,
        arguments.provider,
        Settings(batch=arguments.batch),
        space_of(arguments.provider, batches),
        budget_s=arguments.budget,
    )
    about = asdict(found) | {"objective": arguments.objective, "budget_s": arguments.budget}
    cell = f"{artifact.variant}-{arguments.provider}"
    write_settings(arguments.out, cell, found.choice, about)
    for refused in found.refused:
        print(f"refused: {refused}")
    low, high = found.speedup.low, found.speedup.high
    figures = f"{found.speedup.value:.3f} times the default's sequences a second"
    print(f"{cell}: {found.tried} settings tried; the best gives {figures} [{low:.3f}, {high:.3f}]")
    if found.kept_default:
        print("the difference is within the noise: the default settings are kept")
    print(f"{found.choice}\nwritten to {arguments.out}")
