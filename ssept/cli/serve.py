"""`ssept serve`: the HTTP server, until SIGTERM or Ctrl-C."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

from ssept.cli.arguments import milliseconds, positive
from ssept.cli.onnx_names import described
from ssept.errors import SseptError
from ssept.measure.settings import default_path
from ssept.providers.onnx.names import FORM, OPTION
from ssept.serving.settings import VARIABLES, ServerSettings, from_environment
from ssept.signals import interrupted_by

HELP = "serve recommendations over HTTP until Ctrl-C"
ADDRESS = "127.0.0.1"
PORT = 8080
HIGHEST_PORT = 65535


class Option(NamedTuple):
    """An option that sets a field of the settings.

    Attributes:
        name, metavar, help: as argparse has them.
        read: gives the option's value from its text, or refuses it.
    """

    name: str
    metavar: str
    help: str
    read: Callable[[str], object] = str


OPTIONS = {
    "model": Option("--model", "FILE", "a checkpoint, an ONNX file, or a folder of artifacts"),
    "variants": Option(
        "--variant",
        "NAMES",
        "one or several, separated by commas; the first is the default of requests",
    ),
    "onnx_names": Option(OPTION, FORM, "what an ONNX file calls its inputs and output"),
    "provider": Option("--provider", "NAME", "the provider that runs the variants"),
    "threads": Option("--threads", "N", "threads of each session", positive),
    "sessions": Option("--sessions", "N", "sessions of each variant, side by side", positive),
    "data": Option("--data-dir", "DIR", "the prepared data set, for titles and histories"),
    "max_batch": Option("--max-batch", "N", "the largest batch of a call", positive),
    "max_wait_ms": Option(
        "--max-wait-ms", "MS", "refuse requests that would wait longer in the queue", milliseconds
    ),
    "deadline_ms": Option(
        "--deadline-ms", "MS", "the time limit of a request, body included", milliseconds
    ),
    "max_body_bytes": Option("--max-body-bytes", "N", "the largest request body", positive),
    "max_sequence": Option("--max-sequence", "N", "the longest sequence", positive),
    "max_top_k": Option("--max-top-k", "N", "the largest top_k of a request", positive),
    "cors_origins": Option(
        "--cors-origins",
        "ORIGINS",
        "web origins, separated by commas, whose pages may call the server; * for all",
    ),
    "allowed_hosts": Option(
        "--allowed-hosts",
        "HOSTS",
        "additional names and addresses, separated by commas, that the Host header may have; "
        "* for all",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--host",
        default=ADDRESS,
        help="the address to listen on; 0.0.0.0 accepts every machine that can reach this one",
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help="the port to listen on; 0 for a free one"
    )
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="server processes")
    parser.add_argument("--access-log", action="store_true", help="log each request")
    for field, option in OPTIONS.items():
        parser.add_argument(
            option.name,
            dest=field,
            type=option.read,
            metavar=option.metavar,
            help=f"{option.help} (default: {_default(field)})",
        )
    parser.add_argument(
        "--tuned",
        nargs="?",
        const=str(default_path()),
        metavar="FILE",
        help="take threads, options and the largest batch from a file of `ssept tune` "
        "(without FILE: its default output)",
    )
    parser.add_argument(
        "--all-scores",
        action="store_const",
        const=1,
        help="offer the scores of all items as an output of the Open Inference Protocol",
    )
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> None:
    try:
        from ssept.serving.runtime import sockets, supervisor, uvicorn_server
    except ImportError as error:
        if (error.name or "").startswith("ssept"):
            raise
        raise SseptError(f"serving needs {error.name}: install the serve extra") from error

    # An option wins over the variable; workers read the variables too.
    for field in (*OPTIONS, "tuned", "all_scores"):
        value = getattr(arguments, field)
        if value is not None:
            os.environ[VARIABLES[field]] = str(value)
    settings = from_environment()
    described(settings.model, settings.onnx_names)
    # SIGINT too: a shell script starts its background commands with SIGINT ignored.
    with (
        interrupted_by(signal.SIGINT, signal.SIGTERM),
        sockets.listen_at(arguments.host, arguments.port) as listener,
    ):
        given = listener, settings, arguments.access_log, _say
        if arguments.workers == 1:
            uvicorn_server.serve(*given)
        else:
            supervisor.serve(*given, arguments.workers)
        _say("stopped")


def _say(line: str) -> None:
    """Print a line at once; a terminal or a reader that is gone is no reason to end."""
    try:
        print(line, flush=True)
    except OSError:  # what could not be written would be tried again at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _default(field: str) -> str:
    value = getattr(ServerSettings(), field)
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    return "none" if value in (None, "") else f"{value}"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text}: expected a port number from 0 to {HIGHEST_PORT}")
    return int(text)
