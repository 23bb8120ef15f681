"""`ssept serve`: the HTTP server, until it is told to stop."""

import argparse
import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from ssept.cli.arguments import milliseconds, positive
from ssept.cli.onnx_names import described
from ssept.errors import SseptError
from ssept.measure.settings import default_path
from ssept.providers.onnx.names import FORM, OPTION
from ssept.serving.settings import VARIABLES, Settings, from_environment

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
        "--variant", "NAMES", "several by commas: the first answers where a request names none"
    ),
    "onnx_names": Option(OPTION, FORM, "what an ONNX file calls its inputs and output"),
    "provider": Option("--provider", "NAME", "what runs them"),
    "threads": Option("--threads", "N", "threads that a call may use", positive),
    "sessions": Option("--sessions", "N", "sessions of each variant, side by side", positive),
    "data": Option("--data-dir", "DIR", "the prepared data, for titles and histories"),
    "max_batch": Option("--max-batch", "N", "the most sequences in a call", positive),
    "max_wait_ms": Option(
        "--max-wait-ms", "MS", "refuse what would wait longer for its call", milliseconds
    ),
    "deadline_ms": Option("--deadline-ms", "MS", "give up what takes longer in all", milliseconds),
    "max_body_bytes": Option("--max-body-bytes", "N", "the largest body of a request", positive),
    "max_sequence": Option("--max-sequence", "N", "the most items in a sequence", positive),
    "max_top_k": Option("--max-top-k", "N", "the most items that a request may want", positive),
    "cors_origins": Option(
        "--cors-origins", "ORIGINS", "web origins, by commas, that may call from a browser"
    ),
    "allowed_hosts": Option(
        "--allowed-hosts",
        "HOSTS",
        "hosts, by commas, that requests may be for besides this machine; * for all",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--host",
        default=ADDRESS,
        help="the interface to listen on; 0.0.0.0 lets other machines in, and anybody on them",
    )
    parser.add_argument("--port", type=_port, default=PORT, help="0 for one that is free")
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes")
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
        help="take threads, options and the largest batch from what `ssept tune` found "
        "(without FILE: from where it writes by default)",
    )
    parser.add_argument(
        "--all-scores",
        action="store_const",
        const=1,
        help="offer the scores of all items too, by the Open Inference Protocol",
    )
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> None:
    try:
        from ssept.serving.runtime import sockets
        from ssept.serving.runtime import supervisor as workers
        from ssept.serving.runtime import uvicorn_server as server
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
    # SIGINT too: a shell script starts what it runs in the background with that ignored.
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with sockets.listen_at(arguments.host, arguments.port) as listener:
            if arguments.workers == 1:
                server.serve(listener, settings, arguments.access_log, _say)
            else:
                workers.serve(listener, settings, arguments.access_log, _say, arguments.workers)
            print("stopped")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    print(line, flush=True)


def _default(field: str) -> str:
    value = getattr(Settings(), field)
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    return "none" if value in (None, "") else f"{value}"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text}: expected a port number, or 0")
    return int(text)
