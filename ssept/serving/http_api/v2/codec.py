"""The codec of a model in the Open Inference Protocol: it reads requests and writes answers."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ssept.providers.session import Ids
from ssept.serving.http_api.asgi import JSON, Headers, to_json
from ssept.serving.http_api.v2.tensors import (
    DTYPES,
    LENGTH_HEADER,
    Values,
    datatype_of,
    read_flag,
    read_length,
    read_parameters,
    read_size,
    read_values,
    shown,
    wrong,
)
from ssept.serving.interface import SCORES, SEQ, USER_ID, Interface, Tensor

VERSION = "1"  # of every model
HEADER_LENGTH = LENGTH_HEADER.lower().encode()
BYTES = (b"content-type", b"application/octet-stream")
# Load generators send the same JSON part again and again, and reading it takes most of the time
# that is spent here. Only short ones are remembered, so that nobody can fill the memory.
REMEMBERED, REMEMBERED_BYTES = 128, 2048
# Of the longest request that a model takes: each number as JSON, "-9223372036854775808, ", and all
# the rest: names, shapes, parameters and an id.
NUMBER_BYTES, REST_BYTES = 22, 4096
Asked = tuple[tuple[Tensor, bool], ...]  # outputs, each with whether it is wanted as bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the JSON part of a request says: the same for all requests that begin with it.

    Attributes:
        id: of the request, empty for none.
        size: how many sequences.
        user, sequence: their values.
        bytes_behind: how many bytes of values follow the JSON part.
        outputs: what is asked for.
        calls: what that takes of the model: the k best, or None for the scores of all items.
        head: the JSON part of the answer, if all outputs are wanted as bytes.
    """

    id: str
    size: int
    user: Values
    sequence: Values
    bytes_behind: int
    outputs: Asked
    calls: tuple[int | None, ...]
    head: bytes | None


class ModelCodec:
    """The inputs and outputs of a model.

    Attributes:
        name: of the model.
        tensors: its inputs and outputs, without the batch axis.
        max_batch: the most sequences in a request.
        max_bytes: the longest body that such a request can have; a longer one is not worth
            reading, and takes the server's other clients the time to do so.
    """

    def __init__(self, name: str, tensors: Interface, max_batch: int) -> None:
        self.name = name
        self.tensors = tensors
        self.max_batch = max_batch
        numbers = max_batch * sum(math.prod(tensor.dims) for tensor in tensors.inputs)
        self.max_bytes = numbers * NUMBER_BYTES + REST_BYTES
        self._inputs = {tensor.name: tensor for tensor in tensors.inputs}
        self._outputs = {tensor.name: tensor for tensor in tensors.outputs}
        self._remembered = lru_cache(REMEMBERED)(self._plan)

    def read(self, body: bytes, header_length: bytes | None) -> tuple[Plan, Ids, Ids]:
        """Read a request.

        Args:
            body: all of it.
            header_length: how long its JSON part is, as the header says it; None if it is all.

        Returns:
            What it asks for, and its users int64[n] and sequences int64[n, length], which are not
            to be written to.

        Raises:
            RefusedError: something is wrong with it; the message says where.
        """
        end = len(body) if header_length is None else read_length(header_length, body)
        plan = (self._remembered if end <= REMEMBERED_BYTES else self._plan)(body[:end])
        if len(body) - end != plan.bytes_behind:
            wrong(
                f"{len(body) - end} bytes follow the JSON part of the request; expected "
                f"{plan.bytes_behind}, the sum of its binary_data_size"
            )
        sequences = plan.sequence.array(body, end).reshape(plan.size, -1)
        return plan, plan.user.array(body, end), sequences

    def write(self, plan: Plan, arrays: dict[str, npt.NDArray[Any]]) -> tuple[bytes, Headers]:
        """Return the body and the headers of the answer to a request.

        Args:
            plan: of the request.
            arrays: its outputs by name, [size, …].
        """
        head = plan.head or self._head(plan.id, plan.size, plan.outputs, arrays)
        parts = [arrays[tensor.name].tobytes() for tensor, binary in plan.outputs if binary]
        if not parts:
            return head, (JSON,)
        return b"".join((head, *parts)), (BYTES, (HEADER_LENGTH, b"%d" % len(head)))

    def _plan(self, text: bytes) -> Plan:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            wrong(f"the JSON part of the request, {len(text)} bytes, cannot be read: {error}")
        if not isinstance(request, dict):
            wrong(f"the request is {shown(request)}; expected a JSON object")
        name = request.get("id", "")
        if not isinstance(name, str):
            wrong(f"id is {shown(name)}; expected a string")
        size, values = self._given(request.get("inputs"))
        behind = sum(one.bytes_behind for one in values.values())
        as_bytes = read_flag(read_parameters(request, "request"), "binary_data_output", False)
        outputs = self._asked(request.get("outputs", []), as_bytes)
        best = {tensor.dims[0] for tensor, _ in outputs if tensor.name != SCORES}
        calls = (*best, *(None for tensor, _ in outputs if tensor.name == SCORES))
        all_bytes = all(binary for _, binary in outputs)
        head = self._head(name, size, outputs, {}) if all_bytes else None
        return Plan(
            id=name,
            size=size,
            user=values[USER_ID],
            sequence=values[SEQ],
            bytes_behind=behind,
            outputs=outputs,
            calls=calls,
            head=head,
        )

    def _given(self, given: Any) -> tuple[int, dict[str, Values]]:
        """Read the batch size and the values of a request's inputs."""
        wanted = ", ".join(self._inputs)
        if not isinstance(given, list):
            wrong(f"inputs is {shown(given)}; expected a list of {wanted}")
        values: dict[str, Values] = {}
        size = offset = 0
        for one in given:
            tensor = self._named(one, self._inputs, "input")
            if tensor.name in values:
                wrong(f"input {tensor.name!r} is given twice")
            before, size = size, read_size(tensor, one)
            if size > self.max_batch:
                wrong(
                    f"{tensor.name}: shape is {shown(one['shape'])}; inference request batch-size "
                    f"must be <= {self.max_batch} for {self.name!r}"
                )
            if values and size != before:
                wrong(f"{tensor.name}: has batch-size {size}, and the input before it {before}")
            value = read_values(tensor, one, size * tensor.dims[0], offset)
            values[tensor.name] = value
            offset += value.bytes_behind
        if missing := [name for name in self._inputs if name not in values]:
            wrong(f"input {missing[0]!r} is missing; expected inputs {wanted} for {self.name!r}")
        return size, values

    def _asked(self, given: Any, as_bytes: bool) -> Asked:
        """Read which outputs a request asks for; all of them if it names none."""
        if given == []:
            return tuple((tensor, as_bytes) for tensor in self.tensors.outputs)
        if not isinstance(given, list):
            wrong(f"outputs is {shown(given)}; expected a list of {', '.join(self._outputs)}")
        asked: dict[str, tuple[Tensor, bool]] = {}
        for one in given:
            tensor = self._named(one, self._outputs, "output")
            if tensor.name in asked:
                wrong(f"output {tensor.name!r} is requested twice")
            parameters = read_parameters(one, tensor.name)
            if parameters.get("classification"):
                wrong(f"{tensor.name}: classification is not supported; ask for the tensor itself")
            asked[tensor.name] = tensor, read_flag(parameters, "binary_data", as_bytes)
        return tuple(asked.values())

    def _named(self, given: Any, known: dict[str, Tensor], kind: str) -> Tensor:
        """Return the input or output that a part of a request names."""
        if not isinstance(given, dict):
            wrong(f"an {kind} is {shown(given)}; expected a JSON object")
        name = given.get("name")
        if not isinstance(name, str) or name not in known:
            wrong(
                f"unexpected inference {kind} {shown(name)} for model {self.name!r}; expected "
                f"{', '.join(known)}"
            )
        return known[name]

    def _head(
        self, request: str, size: int, outputs: Asked, arrays: dict[str, npt.NDArray[Any]]
    ) -> bytes:
        """Return the JSON part of an answer, with the arrays that are not sent as bytes."""
        parts = []
        for tensor, binary in outputs:
            shape, datatype = [size, *tensor.dims], datatype_of(tensor)
            part: dict[str, Any] = {"name": tensor.name, "datatype": datatype, "shape": shape}
            if binary:
                width = math.prod(shape) * DTYPES[datatype].itemsize
                part["parameters"] = {"binary_data_size": width}
            else:
                part["data"] = np.ascontiguousarray(arrays[tensor.name]).ravel()
            parts.append(part)
        answer = {"model_name": self.name, "model_version": VERSION, "outputs": parts}
        return to_json({"id": request} | answer if request else answer)
