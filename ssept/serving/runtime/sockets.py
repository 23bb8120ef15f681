"""Listening sockets: bound to an address, and drained when the server shuts down."""

import contextlib
import ctypes
import logging
import resource
import select
import socket
import struct
from pathlib import Path

from ssept.errors import ServerError

LOG = logging.getLogger("ssept.serving")
MOST_CONNECTIONS = 4096  # of a process
SPARE_FILES = 32  # file descriptors that are for something else
UNREAD_MS = 10_000  # a client that reads nothing of its answer for so long is disconnected
SO_ATTACH_FILTER = 26  # of linux/socket.h
# Instructions of linux/bpf_common.h: code, jumps if true and if false, operand. A TCP socket's
# filter sees packets from the TCP header on, whose flags are in byte 13.
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # of them SYN and ACK
    (0x15, 0, 1, 0x02),  # if SYN alone, the next instruction, else the one behind it
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
)


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; clients are refused until a server listens on it.

    Args:
        host: a name or an address.
        port: 0 for one that is free.

    Raises:
        ServerError: the address cannot be used.
    """
    with contextlib.ExitStack() as stack:
        try:
            (family, kind, *_, address), *_ = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            listener = stack.enter_context(socket.socket(family, kind))
            # Connections inherit it; the system ends one that makes no progress for so long.
            _set_option(listener, socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", UNREAD_MS)
            if port:  # connections of a server that has ended do not count
                _set_option(listener, socket.SOL_SOCKET, "SO_REUSEADDR", 1)
            listener.bind(address)
        except OSError as error:
            raise address_error(f"{host}:{port}", error) from error
        stack.pop_all()
        return listener


def _set_option(listener: socket.socket, level: int, name: str, value: int) -> None:
    """Set an option; a sandbox that refuses it has a server all the same, and a warning."""
    try:
        listener.setsockopt(level, getattr(socket, name), value)
    except OSError as error:
        LOG.warning("this system refuses %s: %s", name, error.strerror)


def most_connections() -> int:
    """Return how many connections leave enough file descriptors for everything else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    in_use = len(list(Path("/dev/fd").iterdir()))
    return max(1, min(MOST_CONNECTIONS, limit - in_use - SPARE_FILES))


def address_error(place: str, error: OSError) -> ServerError:
    """Return the error for an address that cannot be listened on."""
    return ServerError(
        f"cannot listen on {place}: {error.strerror}; choose another --port or --host, or "
        "stop the program that listens there"
    )


def place_of(listener: socket.socket) -> str:
    """Return host and port of a listening socket, as in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_new(listener: socket.socket) -> None:
    """Make the kernel begin no more connections; those that have begun can be accepted.

    Closing the socket would reset connections completed since the last `accept`. A SYN that arrives
    now is dropped as if the network had lost it: the client's kernel sends it again, and the
    connection is refused by then. Other packets pass: a client whose ACK were dropped would take
    its connection for complete.
    """
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
    code = ctypes.create_string_buffer(packed)
    program = struct.pack("HP", len(DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # a sandbox may have no filters; some could be reset then
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def readable(one: socket.socket) -> bool:
    """Return whether a socket has something to read, without waiting."""
    poll = select.poll()
    poll.register(one.fileno(), select.POLLIN)
    return bool(poll.poll(0))
