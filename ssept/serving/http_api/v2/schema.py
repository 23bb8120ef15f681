"""Schemas of the Open Inference Protocol, for the OpenAPI description."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from ssept.serving.http_api.v2.tensors import LENGTH_HEADER, datatype_of
from ssept.serving.interface import Interface, Tensor

COUNT = {"type": "integer", "minimum": 0}
JSON, BYTES = "application/json", "application/octet-stream"


class Problem(BaseModel):
    """Why a request was refused."""

    error: str


class Live(BaseModel):
    """Whether the process answers."""

    live: bool


class Ready(BaseModel):
    """Whether the server or model is ready for requests."""

    ready: bool


class ServerMetadata(BaseModel):
    """The server and its protocol extensions."""

    name: str
    version: str
    extensions: list[str] = Field(description="extensions of the protocol, by Triton's names")


class Shape(BaseModel):
    """An input or output."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 is the batch size")


class Metadata(BaseModel):
    """The inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Shape]
    outputs: list[Shape]


class Indexed(BaseModel):
    """A model that is served."""

    name: str
    version: str
    state: str


class Duration(BaseModel):
    """A count, and the total time."""

    count: int
    ns: int


class Compute(BaseModel):
    """The times of calls; that of the inputs and outputs is part of `compute_infer`."""

    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class Requests(Compute):
    """The times of requests; each counts all of the call that it shares."""

    success: Duration
    fail: Duration
    queue: Duration


class Batches(Compute):
    """The calls with one batch size."""

    batch_size: int


class ModelStatistics(BaseModel):
    """The statistics of a model."""

    name: str
    version: str
    last_inference: int = Field(description="time in milliseconds since 1970")
    inference_count: int = Field(description="sequences")
    execution_count: int = Field(description="calls")
    inference_stats: Requests
    batch_stats: list[Batches]


class Statistics(BaseModel):
    """The statistics of models since the server started."""

    model_stats: list[ModelStatistics]


class Output(BaseModel):
    """An output of a model."""

    name: str
    datatype: str
    shape: list[int]
    data: list[int] | list[float] = Field(description="flat, in row-major order")


class Answer(BaseModel):
    """The outputs that were asked for."""

    id: str | None = Field(None, description="the id of the request, if it had one")
    model_name: str
    model_version: str
    outputs: list[Output]


def parameters(path: str, allowed: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Describe the parameters of a path and their allowed values for OpenAPI."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": list(values)},
        }
        for name, values in allowed.items()
        if f"{{{name}}}" in path
    ]


def body(tensors: Interface, max_batch: int) -> dict[str, Any]:
    """Describe the body of a request for OpenAPI."""
    inputs = [
        {
            "name": tensor.name,
            "datatype": datatype_of(tensor),
            "shape": [1, *tensor.dims],
            "data": [1] * tensor.dims[0],
        }
        for tensor in tensors.inputs
    ]
    binary = {
        "type": "string",
        "format": "binary",
        "description": f"a JSON part, whose length is in the header {LENGTH_HEADER} and whose "
        "inputs have the parameter binary_data_size, followed by the data, little-endian",
    }
    return {
        JSON: {"schema": _request(tensors, max_batch), "example": {"inputs": inputs}},
        BYTES: {"schema": binary},
    }


def answers() -> dict[int | str, dict[str, Any]]:
    """Return the answers to a request, as FastAPI's `responses`."""
    refused = {
        400: "The request is invalid; the response gives the reason",
        404: "Unknown model or version",
        413: "The body is too long",
        415: "The body's Content-Encoding is neither gzip nor deflate",
        503: "The queue is full, or the deadline has passed: try again",
    }
    length = {"schema": COUNT, "description": "length of the JSON part, if data follow it"}
    best = {
        "model": Answer,
        "description": "The outputs as JSON; the data of those requested as binary follow "
        "the JSON part",
        "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {LENGTH_HEADER: length},
    }
    found: dict[int | str, dict[str, Any]] = {200: best}
    return found | {
        status: {"model": Problem, "description": reason} for status, reason in refused.items()
    }


def _request(tensors: Interface, max_batch: int) -> dict[str, Any]:
    outputs = [tensor.name for tensor in tensors.outputs]
    inputs = {
        "type": "array",
        "items": {"oneOf": [_input(tensor, max_batch) for tensor in tensors.inputs]},
        "minItems": len(tensors.inputs),
        "maxItems": len(tensors.inputs),
    }
    output = _object({"name": {"enum": outputs}, "parameters": _flags("binary_data")}, "name")
    return _object(
        {
            "id": {"type": "string", "description": "returned with the response"},
            "parameters": _flags("binary_data_output"),
            "inputs": inputs,
            "outputs": {
                "type": "array",
                "items": output,
                "maxItems": len(outputs),
                "description": "the outputs to return; by default all",
            },
        },
        "inputs",
    )


def _input(tensor: Tensor, max_batch: int) -> dict[str, Any]:
    (dim,) = tensor.dims
    batch = {"type": "integer", "minimum": 1, "maximum": max_batch}
    shape = {"type": "array", "prefixItems": [batch, {"const": dim}], "minItems": 2, "maxItems": 2}
    data = {"type": "array", "items": {"type": "integer", "format": "int64"}, "minItems": dim}
    return _object(
        {
            "name": {"const": tensor.name},
            "datatype": {"const": datatype_of(tensor)},
            "shape": shape,
            "data": data | {"maxItems": max_batch * dim, "description": "row by row"},
        },
        *("name", "datatype", "shape", "data"),
    )


def _flags(name: str) -> dict[str, Any]:
    return _object({name: {"type": "boolean", "default": False}})


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}
