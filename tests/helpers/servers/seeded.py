"""The application of `ssept serve` with a seeded fault, for uvicorn: `SEEDED` says which."""

import os
from typing import Any

from ssept.serving.app import app as served

LOST = 10_000  # one request in this many gets no answer
MANY = 4  # requests at a time, beyond which answers are wrong
SEEDED = os.environ.get("SEEDED", "")
under_way = requests = 0
last: bytes | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer, but for the fault."""
    global under_way, requests
    if scope["type"] != "http" or not SEEDED:
        await served(scope, receive, send)
        return
    requests += 1
    under_way += 1
    try:
        if SEEDED == "lost" and requests % LOST == 0:
            headers = [(b"content-length", b"1")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            return  # without a body: uvicorn closes the connection
        await served(scope, receive, _stale(send) if SEEDED == "stale" else send)
    finally:
        under_way -= 1


def _stale(send: Any) -> Any:
    """Under load, send the answer of another request, as a cache with a race would."""
    start: Any = None

    async def sent(message: Any) -> None:
        global last
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        body, own = message["body"], message["body"]
        if under_way > MANY and last is not None:
            body = last
        last = own
        length = (b"content-length", b"%d" % len(body))
        headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        await send({**start, "headers": [*headers, length]})
        await send({**message, "body": body})

    return sent
