"""`ssept triton repository`: the model repository that tritonserver serves."""

import argparse
import sys
from pathlib import Path

from ssept.artifacts import Artifact
from ssept.cli.arguments import positive, positives
from ssept.cli.onnx_names import add_onnx_names, described
from ssept.cli.parsers import Options
from ssept.errors import SseptError
from ssept.installation import SHIPPED, shipped_checkpoint
from ssept.serving.interface import DEFAULT_K, MODEL
from ssept.serving.triton.config import ACCELERATORS, TritonSettings, read_versions
from ssept.serving.triton.repository import answers_any_ids, versions, write_repository
from ssept.variants import CUSTOM, VARIANTS, build

HELP = "write a model repository for Triton from a checkpoint or an ONNX file"
EPILOG = (
    f"Writes OUT/{MODEL}/config.pbtxt and OUT/{MODEL}/VERSION/model.onnx. Other versions in "
    "OUT are kept, and get the same settings."
)
EXAMPLES = {
    "write the default variant of the shipped checkpoint": "ssept triton repository repository",
    "write an ONNX file, with two instances": (
        "ssept triton repository repository --onnx=model.onnx --instances=2"
    ),
    "write a second version, and serve both": (
        "ssept triton repository repository --version=2 --serve-versions=all"
    ),
}
DEFAULT_VARIANT = "fused_topk"  # exact, and runs on every machine
SERVABLE = [
    name for name, variant in VARIANTS.items() if variant.format == "onnx" and name != CUSTOM
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "out", type=Path, help="the repository: a new folder, or one with other versions"
    )
    _add_source(parser.add_argument_group("source"))
    _add_model(parser.add_argument_group("outputs and versions"))
    _add_server(parser.add_argument_group("execution"))
    parser.set_defaults(run=_repository)


def _add_source(parser: Options) -> None:
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help=f"the checkpoint (default: the shipped {SHIPPED})",
    )
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help=f"the variant to build from it (default: {DEFAULT_VARIANT})",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="the data that the checkpoint was trained on; needed to build a calibrated variant "
        "that is not in the cache",
    )
    parser.add_argument(
        "--onnx", type=Path, metavar="FILE", help="an ONNX file instead of a checkpoint"
    )
    add_onnx_names(parser)


def _add_model(parser: Options) -> None:
    parser.add_argument(
        "--outputs",
        metavar="NAMES",
        help="scores (of all items), topk (ids and scores of the best), or both; an output that a "
        "client does not request is computed, but not sent (default: all of the variant)",
    )
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="K",
        help=f"number of best items in topk, fixed in the file (default: {DEFAULT_K})",
    )
    parser.add_argument(
        "--version", type=positive, default=1, metavar="N", help="the version to write"
    )
    parser.add_argument(
        "--serve-versions",
        type=read_versions,
        default="latest",
        metavar="WHICH",
        help="versions to serve: latest, latest:N, all, or numbers separated by commas",
    )


def _add_server(parser: Options) -> None:
    defaults = TritonSettings()
    parser.add_argument(
        "--max-batch-size",
        type=positive,
        default=defaults.max_batch_size,
        metavar="N",
        help="largest batch of a model run",
    )
    parser.add_argument(
        "--no-dynamic-batching",
        action="store_true",
        help="run each request alone; by default waiting requests are batched",
    )
    parser.add_argument(
        "--preferred-batch-sizes",
        type=positives,
        default=[],
        metavar="SIZES",
        help="batch sizes that are run without waiting for --queue-delay",
    )
    parser.add_argument(
        "--queue-delay",
        type=positive,
        default=0,
        metavar="US",
        help="longest time, in microseconds, that a request waits for others (default: 0)",
    )
    parser.add_argument(
        "--instances",
        type=positive,
        default=defaults.instances,
        metavar="N",
        help="instances of the model, on each GPU of --gpus",
    )
    parser.add_argument(
        "--gpus", type=_gpus, default=(), metavar="0,1", help="GPUs to run on (default: the CPU)"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=defaults.threads,
        metavar="N",
        help="threads of an instance",
    )
    parser.add_argument(
        "--accelerator",
        choices=ACCELERATORS,
        help="run the model with TensorRT on the GPUs, or with OpenVINO on the CPU",
    )


def _gpus(text: str) -> tuple[int, ...]:
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text}: expected GPU numbers separated by commas")
    return tuple(int(number) for number in numbers)


def _repository(arguments: argparse.Namespace) -> None:
    settings = TritonSettings(
        max_batch_size=arguments.max_batch_size,
        dynamic_batching=not arguments.no_dynamic_batching,
        preferred_batch_sizes=tuple(arguments.preferred_batch_sizes),
        queue_delay_us=arguments.queue_delay,
        instances=arguments.instances,
        gpus=arguments.gpus,
        threads=arguments.threads,
        accelerator=arguments.accelerator,
        versions=arguments.serve_versions,
    )
    names = arguments.outputs
    artifact = _artifact(arguments)
    file = write_repository(
        artifact,
        arguments.out,
        settings,
        version=arguments.version,
        k=arguments.top_k,
        outputs=[name.strip() for name in names.split(",")] if names is not None else None,
    )
    there = ", ".join(map(str, versions(file.parents[1])))
    print(f"{file}: {artifact.variant} of {artifact.model.checkpoint}; versions there: {there}")
    if artifact.variant == CUSTOM and not answers_any_ids(file):
        print(
            "ssept: warning: the model fails on unknown ids: one such id makes all requests of its "
            "batch fail",
            file=sys.stderr,
        )
    print(f"next: `ssept triton serve {arguments.out}`")


def _artifact(arguments: argparse.Namespace) -> Artifact:
    if arguments.onnx:
        if arguments.checkpoint or arguments.variant:
            raise SseptError(
                "--onnx cannot be combined with --checkpoint or --variant: the file is the model"
            )
        if not (artifact := described(arguments.onnx, arguments.onnx_names)):
            raise SseptError(f"--onnx {arguments.onnx}: expected an ONNX file")
        return artifact
    variant = arguments.variant or DEFAULT_VARIANT
    if variant not in SERVABLE:
        raise SseptError(f"--variant {variant}: expected one of {', '.join(SERVABLE)}")
    checkpoint = arguments.checkpoint or shipped_checkpoint()
    return build(checkpoint, variant, arguments.data_dir)
