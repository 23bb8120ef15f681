"""Options of providers: the fields of a dataclass, checked before anything is loaded."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ssept.errors import ProviderError

Value = str | int | float | bool
Options = TypeVar("Options")

WORTH_TRYING = "worth_trying"
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
TRUTHS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class NoOptions:
    """The options of a provider that has none."""


def tried(default: Value, *others: Value) -> Any:
    """Declare a field with this default, for which `ssept tune` also tries the other values."""
    return dataclasses.field(default=default, metadata={WORTH_TRYING: (default, *others)})


@dataclass(frozen=True)
class Option:
    """One option, as its field declares it.

    Attributes:
        name: the provider's own name for it.
        kind: bool, int, float or str.
        choices: the texts that a str may be; empty for any.
        worth_trying: the values that may make it faster.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    worth_trying: tuple[Value, ...]

    def checked(self, value: Value) -> Value:
        """Check a value; an int becomes a float where the option is one.

        Raises:
            ProviderError: it is of another type, or not among the choices.
        """
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind or (self.choices and value not in self.choices):
            raise self._wrong(value)
        return value

    def read(self, text: str) -> Value:
        """Read the value from a text of the command line.

        Raises:
            ProviderError: the text is none of its values.
        """
        try:
            value = TRUTHS[text.lower()] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError) as error:
            raise self._wrong(text) from error
        return self.checked(value)

    def _wrong(self, value: Value) -> ProviderError:
        expected = f"one of {', '.join(self.choices)}" if self.choices else KINDS[self.kind]
        return ProviderError(f"option {self.name}: expected {expected}, got {value!r}")


def declared(options: Any) -> dict[str, Option]:
    """List the options that a dataclass, or an instance of it, declares, by name.

    A field is annotated with bool, int, float, str or a Literal of texts, and with `| None` where
    the provider decides by default.
    """
    kind = options if isinstance(options, type) else type(options)
    hints = typing.get_type_hints(kind)
    return {
        field.name: _option(field.name, hints[field.name], field.metadata.get(WORTH_TRYING, ()))
        for field in dataclasses.fields(kind)
    }


def with_changes(options: Options, given: Mapping[str, Value]) -> Options:
    """Return the options with the given values in place of the defaults.

    Raises:
        ProviderError: there is no option of that name, or the value is of the wrong type.
    """
    known = declared(options)
    changes = {name: option_of(known, name).checked(value) for name, value in given.items()}
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


def option_of(known: Mapping[str, Option], name: str) -> Option:
    """Find the option of that name.

    Raises:
        ProviderError: there is none; names those there are.
    """
    if name not in known:
        expected = f"expected one of {', '.join(known)}" if known else "there are none"
        raise ProviderError(f"unknown option {name!r}; {expected}")
    return known[name]


def _option(name: str, hint: Any, worth_trying: tuple[Value, ...]) -> Option:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is typing.Literal:
        return Option(name, str, typing.get_args(hint), worth_trying)
    return Option(name, hint, (), worth_trying)
