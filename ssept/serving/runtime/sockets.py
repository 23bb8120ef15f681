"""Listening sockets: made, named, and told to complete no more connections."""

import contextlib
import ctypes
import select
import socket
import struct

from ssept.errors import ServerError

UNREAD_MS = 10_000  # for which a client may take nothing of its answer
SO_ATTACH_FILTER = 26  # of linux/socket.h
BPF_RET = 0x06  # of linux/bpf_common.h


def listen_at(host: str, port: int) -> socket.socket:
    """Bind a socket to an address; clients are refused until a server listens on it.

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
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
            if port:  # connections of a server that has ended do not count
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise unusable(f"{host}:{port}", error) from error
        stack.pop_all()
        return listener


def unusable(place: str, error: OSError) -> ServerError:
    """Return the error that an address cannot be listened on."""
    return ServerError(
        f"{place} cannot be listened on: {error.strerror}; choose another --port or --host, or "
        "end what listens there"
    )


def place_of(listener: socket.socket) -> str:
    """Return host and port of a listening socket, as a URL has them."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_new(listener: socket.socket) -> None:
    """Let the system complete no more connections; those that wait to be accepted stay.

    Closing would reset those that were completed since the last look. What comes now is dropped
    as if the network had lost it: the client's system asks again, and is refused by then.
    """
    code = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET, 0, 0, 0))  # drop everything
    program = struct.pack("HP", 1, ctypes.addressof(code))
    with contextlib.suppress(OSError):  # a sandbox may have no filters; some could be reset then
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def readable(one: socket.socket) -> bool:
    """Return whether a socket has something to read, without waiting."""
    poll = select.poll()
    poll.register(one.fileno(), select.POLLIN)
    return bool(poll.poll(0))
