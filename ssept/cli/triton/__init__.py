"""`ssept triton …`: the model on Triton Inference Server, one module a subcommand."""

import argparse

from ssept.cli.triton import perf as triton_perf
from ssept.cli.triton import repository as triton_repository
from ssept.cli.triton import serve as triton_serve

HELP = "write a model repository for Triton Inference Server, serve it, and measure it"
COMMANDS = {
    "repository": triton_repository,
    "serve": triton_serve,
    "perf": triton_perf,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            formatter_class=parser.formatter_class,
        )
        subparser.set_defaults(parser=subparser)
        command.add_arguments(subparser)
