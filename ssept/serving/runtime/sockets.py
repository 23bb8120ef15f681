"""Listening sockets: bound to an address, and drained when the server shuts down."""

import contextlib
import logging
import resource
import select
import socket
from pathlib import Path

from ssept.errors import ServerError

LOG = logging.getLogger("ssept.serving")
MOST_CONNECTIONS = 4096  # of a process
SPARE_FILES = 32  # file descriptors that are for something else
UNREAD_MS = 10_000  # a client that reads nothing of its answer for so long is disconnected
IP_MINTTL, IPV6_MINHOPCOUNT = 21, 73  # of linux/in.h and linux/in6.h
MOST_HOPS = 255  # most hosts begin with 64 or 128; a neighbour that begins with 255 gets through


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
    connection is refused by then. The kernel compares the hops that a SYN may still make, which
    needs no rights, as a packet filter does on some systems. Handshakes that have begun go on; as
    their connections inherit the limit, see `take_all_of`.
    """
    _limit_hops(listener, MOST_HOPS)


def dropped_for_hops() -> int:
    """Return how many packets the kernel has dropped as too far, 0 where it does not say."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        names, values, *_ = Path("/proc/net/netstat").read_text().splitlines()
        return int(dict(zip(names.split(), values.split(), strict=True))["TCPMinTTLDrop"])
    return 0


def take_all_of(connection: socket.socket | None) -> None:
    """Take all packets of a connection, which may have been completed after `refuse_new`.

    None stands for a connection within the process.
    """
    if connection:
        _limit_hops(connection, 0)


def _limit_hops(one: socket.socket, least: int) -> None:
    """Drop packets that may make fewer hops, where the system can; else some could be reset."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.IPPROTO_IP, IP_MINTTL, least)
    if one.family == socket.AF_INET6:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, least)


def readable(one: socket.socket) -> bool:
    """Return whether a socket has something to read, without waiting."""
    poll = select.poll()
    poll.register(one.fileno(), select.POLLIN)
    return bool(poll.poll(0))
