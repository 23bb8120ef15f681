"""Typed records out of JSON: every value is checked, and an error names its place.

The type of a field is its rule. `Annotated` narrows it: with `Bounds` for a number or for the three
numbers of an `Estimate`, or with a function that chooses the record by what the value holds.
"""

import json
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from ssept.errors import RunError, printable, shortened
from ssept.estimate import Estimate

# Within these no ratio, square or change of unit of two numbers overflows.
LARGEST, SMALLEST = 1e30, 1e-30
LARGEST_WHOLE = 1 << 63
ROUNDING = 1e-9  # by which a mean may lie outside its interval
LONGEST_PLACE = 120  # characters of a place in an error


@dataclass(frozen=True)
class Bounds:
    """What a number must lie between, and how an error calls it."""

    words: str
    low: float = -LARGEST
    high: float = LARGEST


_SHARE, _POSITIVE = Bounds("a number from 0 to 1", 0, 1), Bounds("a positive number", SMALLEST)
Share = Annotated[float, _SHARE]
Positive = Annotated[float, _POSITIVE]
Number = Annotated[float, Bounds("a number")]
NotNegative = Annotated[float, Bounds("a number of at least 0", 0)]
Natural = Annotated[int, Bounds("a whole number of at least 0", 0, LARGEST_WHOLE)]
Count = Annotated[int, Bounds("a whole number of at least 1", 1, LARGEST_WHOLE)]
AnyEstimate = Annotated[Estimate, Bounds("a number")]
ShareEstimate = Annotated[Estimate, _SHARE]
PositiveEstimate = Annotated[Estimate, _POSITIVE]

# Of types in Python: the type that JSON has for them, and how an error calls it.
_JSON: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    tuple: ((list, tuple), "a list"),
}
_OBJECT = ((dict,), "an object")


def typed(kind: Any, value: Any, where: str = "") -> Any:
    """Read a JSON value as a type.

    Args:
        kind: a dataclass, a TypedDict, `X | None`, `tuple[X, ...]`, `dict[str, X]`, str, bool, Any,
            or one of the annotated types. What a file says beyond the fields of a dataclass is
            left out, beyond those of a TypedDict kept.
        value: as `json.loads` gives it, or as `json.dumps` will take it.
        where: its place in the file.

    Raises:
        RunError: it is not of this type, or out of bounds.
    """
    origin: Any = get_origin(kind) or kind
    given = get_args(kind)
    if origin in (Union, UnionType):  # X | None
        return None if value is None else typed(given[0], value, where)
    if origin is Annotated:
        kind, rule = given
        if not isinstance(rule, Bounds):
            return typed(rule(value), value, where)
        return (_estimate if kind is Estimate else _number)(kind, rule, value, where)
    if kind is Any:
        return _anything(value, where)
    if not _is(value, origin):
        raise refusal(value, where, _words(kind))
    if is_typeddict(origin):
        known = get_type_hints(origin, include_extras=True)
        kinds = {name: known.get(name, Any) for name in value}
        return {printable(n): typed(k, value[n], _inside(where, n)) for n, k in kinds.items()}
    if origin is tuple:
        return tuple(typed(given[0], each, f"{where}[{at}]") for at, each in enumerate(value))
    if origin is dict:
        return {printable(k): typed(given[1], v, _inside(where, k)) for k, v in value.items()}
    if is_dataclass(origin):
        return kind(**{n: _member(k, value, n, where) for n, k in _members(origin, value)})
    return printable(value) if kind is str else value


def refusal(value: Any, where: str, expected: str) -> RunError:
    """Say in one bounded line what is found at a place of a file, and what is expected."""
    if isinstance(value, list | tuple | dict):
        shown = "an object" if isinstance(value, dict) else "a list"
    else:
        shown = shortened(json.dumps(value))
    return RunError(f"{_place(where) or 'the content'} is {shown}; expected {expected}")


def _is(value: Any, origin: Any) -> bool:
    kinds, _ = _JSON.get(origin, _OBJECT)
    return isinstance(value, kinds)


def _members(kind: Any, value: dict[str, Any]) -> list[tuple[str, Any]]:
    """List the fields of a record, less those with a default that the value does not name."""
    return [(name, of) for name, of, needed in _fields(kind) if needed or name in value]


@cache
def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    """Of each field of a dataclass the name, the type, and whether it must be given."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        (each.name, hints[each.name], each.default is each.default_factory is MISSING)
        for each in fields(kind)
    ]


def _member(kind: Any, value: dict[str, Any], name: str, where: str) -> Any:
    if name not in value:
        raise RunError(f"{_place(_inside(where, name))} is missing; expected {_words(kind)}")
    return typed(kind, value[name], _inside(where, name))


def _number(kind: type, bounds: Bounds, value: Any, where: str) -> Any:
    numbers = (int, float) if kind is float else (int,)
    words = bounds.words
    if isinstance(value, numbers) and not isinstance(value, bool):
        if bounds.low <= value <= bounds.high:
            return value
        if value > bounds.high > 1:
            words += f", at most {bounds.high:g}"
        elif 0 < value < bounds.low:
            words += f", at least {bounds.low:g}"
    raise refusal(value, where, words)


def _estimate(kind: type, bounds: Bounds, value: Any, where: str) -> Estimate:
    if not isinstance(value, dict):
        raise refusal(value, where, _OBJECT[1])
    end = Annotated[float, bounds]
    found: Estimate = kind(*(_member(end, value, n, where) for n in ("value", "low", "high")))
    slack = ROUNDING * max(1.0, abs(found.value))
    if not found.low - slack <= found.value <= found.high + slack:
        raise refusal(found.value, _inside(where, "value"), "a number between low and high")
    return found


def _anything(value: Any, where: str) -> Any:
    """Any JSON value, the numbers in it finite and the text in it printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return [_anything(each, f"{where}[{at}]") for at, each in enumerate(value)]
    if isinstance(value, dict):
        return {printable(k): _anything(v, _inside(where, k)) for k, v in value.items()}
    return value if value is None or isinstance(value, bool) else typed(Number, value, where)


def _words(kind: Any) -> str:
    """How an error calls what it expected."""
    origin, given = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return _words(given[0])
    if origin is Annotated and given[0] is not Estimate and isinstance(given[1], Bounds):
        return given[1].words
    return _JSON.get(origin, _OBJECT)[1]


def _inside(where: str, name: str) -> str:
    name = shortened(printable(name))
    return f"{where}.{name}" if where else name


def _place(where: str) -> str:
    return where if len(where) <= LONGEST_PLACE else f"…{where[-LONGEST_PLACE:]}"
