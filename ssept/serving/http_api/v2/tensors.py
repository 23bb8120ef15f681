"""Parsers for parts of an Open Inference request; they reject malformed input."""

from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import orjson

from ssept.providers.session import Ids
from ssept.serving.http_api.asgi import RefusedError
from ssept.serving.interface import Tensor

LENGTH_HEADER = "Inference-Header-Content-Length"
INT64 = np.dtype("<i8")
DTYPES: dict[str, np.dtype[Any]] = {"INT64": INT64, "FP32": np.dtype("<f4")}
SHOWN = 80  # characters of what was sent, in a message


@dataclass(frozen=True, slots=True)
class Values:
    """The location of an input's values.

    Attributes:
        data: the bytes, if they were in the JSON part; None if they are behind it.
        offset: where they begin there.
        count: how many there are.
    """

    data: bytes | None
    offset: int
    count: int

    @property
    def bytes_behind(self) -> int:
        """The number of their bytes behind the JSON part."""
        return self.count * INT64.itemsize if self.data is None else 0

    def array(self, body: bytes, start: int) -> Ids:
        """Return the values, read-only int64[count]; the JSON part ends at `start`."""
        if self.data is None:
            return np.frombuffer(body, INT64, self.count, start + self.offset)
        return np.frombuffer(self.data, INT64, self.count)


def wrong(message: str) -> NoReturn:
    """Refuse a request that does not keep to the protocol."""
    raise RefusedError(400, message)


def shown(value: Any) -> str:
    """Return a JSON value for a message, shortened if it is long or deep."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return "too deep to be shown"  # orjson reads deeper than it writes
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def datatype_of(tensor: Tensor) -> str:
    """Return the protocol's name of a tensor's type: "INT64" for TYPE_INT64."""
    return tensor.type.removeprefix("TYPE_")


def read_length(text: bytes, body: bytes) -> int:
    """Read the length of a request's JSON part from its header."""
    if text.isdigit() and len(text) < 20 and int(text) <= len(body):
        return int(text)
    wrong(
        f"{LENGTH_HEADER} is {shown(text.decode('latin-1'))}; expected the length "
        f"of the JSON part, at most that of the body, {len(body)}"
    )


def read_parameters(given: dict[str, Any], place: str) -> dict[str, Any]:
    """Read the parameters of a request or tensor; unknown ones are ignored."""
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        wrong(f"{place}: parameters is {shown(parameters)}; expected a JSON object")
    if "shared_memory_region" in parameters:
        wrong(f"{place}: shared memory is not supported; send the data with the request")
    return parameters


def read_flag(parameters: dict[str, Any], name: str, otherwise: bool) -> bool:
    """Read a parameter that is true or false."""
    value = parameters.get(name, otherwise)
    if not isinstance(value, bool):
        wrong(f"parameter {name} is {shown(value)}; expected true or false")
    return value


def read_size(tensor: Tensor, given: dict[str, Any]) -> int:
    """Check the type and shape of an input, and return its batch size."""
    expected, datatype = datatype_of(tensor), given.get("datatype")
    if datatype != expected:
        wrong(f"{tensor.name}: datatype is {shown(datatype)}; expected {expected}")
    shape: Any = given.get("shape")
    dims = list(tensor.dims)
    whole = isinstance(shape, list) and all(type(size) is int for size in shape)  # True is no size
    if not (whole and shape[1:] == dims and shape[0] > 0):
        wrong(
            f"{tensor.name}: shape is {shown(shape)}; expected {[-1, *dims]}, where -1 is the "
            "batch size, 1 at least"
        )
    size: int = shape[0]
    return size


def read_values(tensor: Tensor, given: dict[str, Any], count: int, offset: int) -> Values:
    """Locate the `count` values of an input; `offset` bytes belong to the inputs before it."""
    size, data = read_parameters(given, tensor.name).get("binary_data_size"), given.get("data")
    if (size is None) == (data is None):
        has = "neither" if size is None else "both"
        wrong(f"{tensor.name}: has {has} data and binary_data_size; expected one of the two")
    if data is not None:
        return Values(_bytes(tensor, data, count), 0, count)
    if type(size) is not int or size != count * INT64.itemsize:
        wrong(
            f"{tensor.name}: binary_data_size is {shown(size)}; expected {count * INT64.itemsize}, "
            f"{INT64.itemsize} for each of the {count} values of its shape"
        )
    return Values(None, offset, count)


def _bytes(tensor: Tensor, data: Any, count: int) -> bytes:
    """Convert the values of a JSON array, flat or nested, to bytes."""
    flat: list[Any] = data if isinstance(data, list) else [None]
    for _ in tensor.dims:  # a list for each axis within one for the batch's, or one for all
        # What is too long is refused before anything is made of it.
        if len(flat) > count or set(map(type, flat)) != {list} or len(set(map(len, flat))) > 1:
            break
        flat = list(chain.from_iterable(flat))
    if len(flat) <= count and set(map(type, flat)) != {int}:
        wrong(
            f"{tensor.name}: data is {shown(data)}; expected whole numbers, flat or in lists of "
            "equal length"
        )
    if len(flat) != count:
        wrong(f"{tensor.name}: data has {len(flat)} values; expected {count} for its shape")
    try:
        return np.array(flat, INT64).tobytes()
    except OverflowError:
        wrong(f"{tensor.name}: data has a number outside {datatype_of(tensor)}")
