"""Applications of trials, of which it is known how much slower one is: factories for uvicorn."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssept.serving.http_api.asgi import Receive, Scope, Send

SERVICE_VARIABLE = "SSEPT_TRIAL_SERVICE_MS"
EXTRA_VARIABLE = "SSEPT_TRIAL_EXTRA_MS"
HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
BODY = {"type": "http.response.body", "body": b"{}"}


def sleeping() -> Any:
    """Return an application that answers each request after a fixed time, as of a GPU's answer.

    Requests do not wait for one another: the time is nearly all that a client sees.
    """
    seconds = float(os.environ[SERVICE_VARIABLE]) / 1e3

    async def app(_: "Scope", receive: "Receive", send: "Send") -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(seconds)
        await send(HEAD)
        await send(BODY)

    return app


def slowed() -> Any:
    """Return the application of `ssept serve`, with more CPU work before each request is handled.

    The work is done on the event loop's thread, where a slower parser or a slower call would be.
    """
    from ssept.serving.app import app as served

    seconds = float(os.environ[EXTRA_VARIABLE]) / 1e3

    async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
        await served(scope, receive, send)

    return app
