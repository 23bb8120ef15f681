"""Pages of the reference that are made from the program: they cannot be out of date."""

import argparse
import os
from pathlib import Path

from ssept.cli import ERROR_STATUS
from ssept.cli.commands import COMMANDS, parser_of
from ssept.installation import PACKAGE

GENERATED = "docs/generated"
COLUMNS = "88"
INTRODUCTION = """# All commands and their options

This page is made from the program: `ssept COMMAND --help` prints the same. The
[reference](../reference.md) says in a line what each command does.

"""
EXIT_CODES = """## Exit codes

| code | of most commands | of {own} |
|---|---|---|
| 0 | done | see their help |
| 1 | an error: one line on standard error says which | a result: see their help |
| 2 | wrong arguments | a result: see their help |
| 3 | | an error, or wrong arguments |
| 128 + N | ended by signal N | 3 |
"""


def write_pages(folder: Path) -> None:
    """Write them."""
    folder.mkdir(exist_ok=True)
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")


def commands_page() -> str:
    """Return the help of each command and subcommand, as Markdown."""
    os.environ["COLUMNS"] = COLUMNS
    sections = [
        f"## ssept {name}\n\n```text\n{parser.format_help().rstrip()}\n```\n"
        for command in COMMANDS
        for name, parser in _all(command, parser_of(command))
    ]
    own = ", ".join(f"`{name}`" for name in sorted(ERROR_STATUS))
    text = INTRODUCTION + "\n".join([*sections, EXIT_CODES.format(own=own)])
    # The defaults of files are those of the machine that builds the page.
    return text.replace(f"{PACKAGE.parent}/", "").replace(str(Path.home()), "~")


def _all(name: str, parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    """List a command and its subcommands, each by its whole name."""
    found = [(name, parser)]
    for action in parser._actions:  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):
            for own, subparser in action.choices.items():
                found += _all(f"{name} {own}", subparser)
    return found
