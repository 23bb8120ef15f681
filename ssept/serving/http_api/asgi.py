"""Requests and answers in plain ASGI, for the paths under load."""

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import cache
from http import HTTPStatus
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[Any]]
Headers = Iterable[tuple[bytes, bytes]]

OPEN_INFERENCE = "/v2"  # where its paths begin
JSON_TYPE = b"application/json"
JSON = (b"content-type", JSON_TYPE)
RETRY_AFTER = (b"retry-after", b"1")  # seconds; the standard has no fractions
NOSNIFF = (b"x-content-type-options", b"nosniff")  # no browser takes an answer for a page
CLOSE = (b"connection", b"close")  # where the rest of a request is not read
WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # of zlib, which selects the format by it
ENCODINGS = b"gzip, deflate"
SHOWN_CHARACTERS = 80


class RefusedError(Exception):
    """A request that gets an error for an answer.

    Attributes:
        status: the HTTP status.
        detail: what is wrong, as JSON.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: Any, headers: Headers = ()) -> None:
        self.status = status
        self.detail = detail
        self.headers = [JSON, *headers]

    def body(self, path: str) -> bytes:
        """Return the body as JSON; for its paths, in the form of the Open Inference Protocol."""
        return to_json({"error" if path.startswith(OPEN_INFERENCE) else "detail": self.detail})


class GoneError(Exception):
    """The client has closed the connection before its request was complete."""


async def read_body(
    scope: Scope, receive: Receive, limit: int, media_type: bytes | None = None
) -> bytes:
    """Read the whole body of a request; one in gzip or deflate is decompressed.

    Args:
        scope: of the request.
        receive: gives its parts.
        limit: bytes, before and after.
        media_type: what its header may say that it is, if that is there; None for anything.

    Raises:
        RefusedError: it is longer than the limit, said before all of it is read; or it is
            something else.
        GoneError: the client has gone.
    """
    encoding = check_head(scope["headers"], limit, media_type)
    if encoding in (b"", b"identity"):
        return await _received(receive, limit)
    return _decompressed(await _received(receive, limit), encoding, limit)


def check_head(headers: Headers, limit: int, media_type: bytes | None) -> bytes:
    """Check what a head says of its body, and return the Content-Encoding; see `read_body`."""
    encoding = b""
    for name, value in headers:
        if name == b"content-length":
            _check_length(value, limit)
        elif name == b"content-type" and media_type and value != media_type:
            _check_type(value, media_type)
        elif name == b"content-encoding":
            encoding = b"%s, %s" % (encoding, value) if encoding else value.lower()
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise RefusedError(501, "the transfer-encoding must be chunked", [CLOSE])
    if encoding not in (b"", b"identity"):
        _check_encoding(encoding)
    return encoding


async def _received(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        if len(body) > limit:
            raise too_long(limit)
        return body
    parts, length = [body], len(body)
    while message.get("more_body"):
        if length > limit:
            raise too_long(limit)
        message = await receive()
        parts.append(message.get("body", b""))
        length += len(parts[-1])
    if message["type"] != "http.request":
        raise GoneError
    if length > limit:
        raise too_long(limit)
    return b"".join(parts)


def _check_length(value: bytes, limit: int) -> None:
    try:
        length = int(value)
    except ValueError:
        length = -1
    if length < 0:
        raise RefusedError(400, "content-length is not a number", [CLOSE])
    if length > limit:
        raise too_long(limit)


def _check_type(value: bytes, wanted: bytes) -> None:
    if value.partition(b";")[0].strip().lower() != wanted:
        raise RefusedError(415, f"the content-type must be {wanted.decode()}", [CLOSE])


def _check_encoding(encoding: bytes) -> None:
    if encoding not in WINDOWS:
        shown = to_json(encoding.decode("latin-1")[:SHOWN_CHARACTERS]).decode()
        message = f"Content-Encoding is {shown}; expected {ENCODINGS.decode()}"
        raise RefusedError(415, message, [(b"accept-encoding", ENCODINGS), CLOSE])


def _decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Decompress a body; no more than the limit is ever unpacked."""
    unpack = zlib.decompressobj(WINDOWS[encoding])
    named = encoding.decode()
    try:
        plain = unpack.decompress(body, limit + 1)
    except zlib.error as error:
        message = f"the body cannot be unpacked as {named}: {error}"
        raise RefusedError(400, message) from None
    if len(plain) > limit:
        raise RefusedError(413, f"the body, once unpacked, is longer than {limit} bytes")
    if not unpack.eof or unpack.unused_data:
        raise RefusedError(400, f"the body is not one whole {named} stream")
    return plain


def too_long(limit: int) -> RefusedError:
    """Return the error for a body above the limit, bytes."""
    return RefusedError(413, f"the body is longer than {limit} bytes", [CLOSE])


async def respond(send: Send, status: int, body: bytes, headers: Headers = (JSON,)) -> int:
    """Send a whole answer; gives the status back."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
    return status


def refused(error: RefusedError, path: str) -> bytes:
    """Return an error as a complete HTTP/1.1 answer, to be written without ASGI."""
    return whole(error.status, error.body(path), error.headers)


def whole(status: int, body: bytes, headers: Headers = (JSON,)) -> bytes:
    """Return a complete HTTP/1.1 answer, to be written without ASGI."""
    lines = b"".join([b"%s: %s\r\n" % header for header in headers])
    return b"%s%scontent-length: %d\r\n\r\n%s" % (_first_lines(status), lines, len(body), body)


@cache
def _first_lines(status: int) -> bytes:
    first = b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())
    return b"%s\r\n%s: %s\r\n" % (first, *NOSNIFF)


def to_json(value: Any) -> bytes:
    """Encode plain values and NumPy arrays as JSON; float32 with its shortest exact digits.

    Raises:
        TypeError: it holds something else, or an integer of more than 64 bits.
    """
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
