"""`ssept completion`: what completes the commands and options in a shell."""

import argparse
from pathlib import Path

HELP = "print a script that completes the commands and options of ssept in a shell"
EPILOG = (
    "Write the script where the shell looks for it: for bash to the file ssept in "
    "~/.local/share/bash-completion/completions, for zsh to the file _ssept in a folder of $fpath."
)
EXAMPLES = {
    "print the script for bash": "ssept completion bash",
    "print the script for zsh": "ssept completion zsh",
}
SHELLS = "bash", "zsh", "tcsh"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import shtab

    from ssept.cli.commands import parser_of_all

    parser = parser_of_all()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, arguments.shell))


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """Tell shtab which arguments are the names of files."""
    for action in parser._actions:  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _complete_files(subparser, files)
        elif action.type is Path:
            action.complete = files  # type: ignore[attr-defined]
