"""`ssept triton …`: the model on Triton Inference Server, one module a subcommand."""

import argparse

from ssept.cli.parsers import add_module
from ssept.cli.triton import perf as triton_perf
from ssept.cli.triton import repository as triton_repository
from ssept.cli.triton import serve as triton_serve

HELP = "write a model repository for Triton Inference Server, serve it, and measure it"
EXAMPLES = {
    "write a model repository": "ssept triton repository repository",
    "serve it": "ssept triton serve repository",
    "measure it": (
        "ssept triton perf -- -m recommender_model_onnx --shape USER_ID:1 --shape SEQ:50"
    ),
}
COMMANDS = {
    "repository": triton_repository,
    "serve": triton_serve,
    "perf": triton_perf,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(add_module(commands, name, command))
