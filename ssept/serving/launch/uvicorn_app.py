"""An ASGI application as a process of its own, run by uvicorn as its manual says: for trials."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ssept.children import command
from ssept.serving.launch.supervised import ADDRESS, HttpServerProcess

START_SECONDS = 60


class UvicornApp(HttpServerProcess):
    """A running application, in one process."""

    STARTED = re.compile(r"Uvicorn running on http://[^\s:]*:(\d+) ")

    def __init__(
        self, app: str, options: Sequence[str], variables: Mapping[str, str], log: Path
    ) -> None:
        """Start it.

        Args:
            app: "module:name".
            options: more of uvicorn's.
            variables: environment variables beside those of this process.
            log: the file for what it says; it stays.
        """
        own = ("--port=0", "--no-access-log", f"--host={ADDRESS}")
        super().__init__(app, command("uvicorn", app, *own, *options), os.environ | variables, log)


@contextlib.contextmanager
def uvicorn_app(
    app: str,
    log: Path,
    variables: Mapping[str, str] | None = None,
    options: Sequence[str] = ("--lifespan=off",),
) -> Iterator[UvicornApp]:
    """Run an application; the block begins when it is ready.

    Raises:
        ServerError: it does not get ready; with the last lines of its log.
    """
    server = UvicornApp(app, options, variables or {}, log)
    with server.ready_within(START_SECONDS):
        yield server
