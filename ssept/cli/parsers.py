"""Parsers of all commands in one form: a description, options in groups, defaults and examples."""

import argparse
import textwrap
from collections.abc import Mapping
from types import ModuleType
from typing import TypeVar

HEADING = "examples:"
PARAGRAPH = "\n\n"
COLUMNS = 78  # of an example, with a backslash where it goes on
Parser = TypeVar("Parser", bound=argparse.ArgumentParser)
Options = argparse._ActionsContainer  # a parser, or a group of one: argparse has no other name


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """A help formatter that shows the defaults there are, and keeps the lines of examples."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        named = action.default in (None, False, "", []) or "(default" in (action.help or "")
        if not named and isinstance(action.default, list):  # as it is written on the command line
            return f"{action.help} (default: {','.join(map(str, action.default))})"
        return action.help if named else super()._get_help_string(action)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return PARAGRAPH.join(
            part
            if part.startswith(HEADING)
            else "\n".join(indent + line for line in self._split_lines(part, width - len(indent)))
            for part in text.split(PARAGRAPH)
        )


def add_command(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    text: str,
    examples: Mapping[str, str],
    epilog: str = "",
) -> Parser:
    """Add a command to those of a parser; returns the command's own parser.

    Args:
        commands: what `add_subparsers` returned.
        name: the command.
        text: what it does, in a line.
        examples: command lines by what they are for.
        epilog: what a user should know besides, in front of the examples.
    """
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=with_examples(epilog, examples),
        formatter_class=Help,
    )
    parser.set_defaults(parser=parser)
    return parser


def add_module(
    commands: "argparse._SubParsersAction[Parser]", name: str, module: ModuleType
) -> Parser:
    """Add the command that a module describes by HELP, EXAMPLES and, if it has one, EPILOG."""
    epilog = getattr(module, "EPILOG", "")
    return add_command(commands, name, module.HELP, module.EXAMPLES, epilog)


def with_examples(epilog: str, examples: Mapping[str, str]) -> str:
    """Return the end of a help page."""
    lines = [f"  # {purpose}\n  {_wrapped(command)}" for purpose, command in examples.items()]
    return PARAGRAPH.join(filter(None, (epilog, "\n".join([HEADING, *lines]))))


def _wrapped(command: str) -> str:
    """Break a long command line as a shell reads it."""
    lines = textwrap.wrap(
        command, COLUMNS - 4, break_long_words=False, break_on_hyphens=False, subsequent_indent="  "
    )
    return command if len(command) <= COLUMNS else " \\\n  ".join(lines)
