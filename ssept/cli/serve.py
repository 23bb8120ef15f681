"""`ssept serve`: the HTTP server, until SIGTERM or Ctrl-C."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ssept.cli.arguments import milliseconds, positive
from ssept.cli.onnx_names import described
from ssept.errors import ServerError, SseptError
from ssept.measure.settings import default_path
from ssept.providers.onnx.names import OPTION
from ssept.serving.settings import VARIABLES, ServerSettings, from_environment
from ssept.signals import interrupted_by

HELP = "serve recommendations over HTTP until Ctrl-C"
EXAMPLES = {
    "serve the shipped model in INT8": "ssept serve --variant=fused_int8_topk",
    "serve an ONNX file with two server processes": (
        "ssept serve --model=model.onnx --workers=2 --port=9000"
    ),
    "accept requests from other machines, by the name that they use": (
        "ssept serve --host=0.0.0.0 --allowed-hosts=model.example"
    ),
}
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
        "variants to serve, separated by commas; requests use the first one by default",
    ),
    "onnx_names": Option(
        OPTION,
        "NAMES",
        "names in an ONNX file, as user=NAME,sequence=NAME,scores=NAME; also length=N, padding=0",
    ),
    "provider": Option("--provider", "NAME", "the provider that runs the variants"),
    "threads": Option("--threads", "N", "threads of each session", positive),
    "sessions": Option("--sessions", "N", "parallel sessions of each variant", positive),
    "data": Option("--data-dir", "DIR", "the prepared data set, for titles and histories"),
    "max_batch": Option("--max-batch", "N", "the largest batch of a call", positive),
    "max_wait_ms": Option(
        "--max-wait-ms", "MS", "refuse requests that would wait longer in the queue", milliseconds
    ),
    "deadline_ms": Option(
        "--deadline-ms",
        "MS",
        "time limit of a request, including the transfer of its body",
        milliseconds,
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
GROUPS = {
    "model": ("model", "variants", "onnx_names", "data"),
    "execution": ("provider", "threads", "sessions", "max_batch"),
    "limits": ("max_wait_ms", "deadline_ms", "max_body_bytes", "max_sequence", "max_top_k"),
    "access": ("cors_origins", "allowed_hosts"),
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
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="number of server processes"
    )
    parser.add_argument("--access-log", action="store_true", help="log each request")
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for title, fields in GROUPS.items():
        for field in fields:
            option = OPTIONS[field]
            groups[title].add_argument(
                option.name,
                dest=field,
                type=option.read,
                metavar=option.metavar,
                help=f"{option.help} (default: {_default(field)})",
            )
    groups["execution"].add_argument(
        "--tuned",
        nargs="?",
        const=str(default_path()),
        metavar="FILE",
        help="take threads, options and the largest batch from a file of `ssept tune` "
        "(without FILE: its default output)",
    )
    groups["model"].add_argument(
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
    given = {
        field: str(value)
        for field in (*OPTIONS, "tuned", "all_scores")
        if (value := getattr(arguments, field)) is not None
    }
    os.environ.update({VARIABLES[field]: value for field, value in given.items()})
    try:
        settings = from_environment()
    except ServerError as error:
        raise ServerError(_as_given(str(error), given)) from error
    described(settings.model, settings.onnx_names)
    # SIGINT too: a shell script starts its background commands with SIGINT ignored.
    with (
        interrupted_by(signal.SIGINT, signal.SIGTERM),
        sockets.listen_at(arguments.host, arguments.port) as listener,
    ):
        server = listener, settings, arguments.access_log, _say
        if arguments.workers == 1:
            uvicorn_server.serve(*server)
        else:
            supervisor.serve(*server, arguments.workers)
        _say("stopped")


def _as_given(text: str, given: Iterable[str]) -> str:
    """Name the option in an error about a variable, where it was set by the option."""
    options = {VARIABLES[field]: OPTIONS[field].name for field in given if field in OPTIONS}
    variable = text.split()[0].rstrip(":")
    return text.replace(variable, options.get(variable, variable), 1)


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
