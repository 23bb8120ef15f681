"""`ssept triton perf`: Triton's load generator, with its own arguments."""

import argparse

from ssept.serving.triton.perf_analyzer import run

HELP = "run perf_analyzer, Triton's load generator, against a server"

EXAMPLES = {
    "load a server with 8 concurrent requests": (
        "ssept triton perf -- -m recommender_model_onnx --shape USER_ID:1 --shape SEQ:50"
        " --concurrency-range 8"
    ),
    "load it over gRPC": (
        "ssept triton perf -- -m recommender_model_onnx --shape USER_ID:1 --shape SEQ:50"
        " -i grpc -u localhost:8001"
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "arguments",
        nargs="+",
        metavar="ARGS",
        help="arguments of perf_analyzer, after --, for example: -- -m recommender_model_onnx "
        "-u localhost:8000 --concurrency-range 8",
    )
    parser.set_defaults(run=lambda arguments: run(arguments.arguments))
