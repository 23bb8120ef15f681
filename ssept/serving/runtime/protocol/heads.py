"""What HTTP/1.1 asks of the head of a request beyond parsing it."""

import re

Fields = list[tuple[bytes, bytes]]

ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)


def size(target: bytes, headers: Fields) -> int:
    """Return how many bytes the target and the fields of a head have."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def without_upgrade(method: bytes, target: bytes, version: str, headers: Fields) -> bytes:
    """Return a head as bytes, but for its Upgrade, which RFC 9110, 7.8 lets a server ignore."""
    first = b"%s %s HTTP/%s" % (method, target, version.encode())
    lines = [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([first, *lines, b"", b""])


def origin_form(target: bytes, headers: Fields) -> bytes | None:
    """Return path and query of `http://HOST/PATH`; None for any other target.

    HOST replaces the value of the Host header, as RFC 9112, 3.2.2 demands.
    """
    found = ABSOLUTE.fullmatch(target)
    if found is None:
        return None
    host, path, query = found.groups(b"")
    headers[:] = [(name, host if name == b"host" else value) for name, value in headers]
    return (path or b"/") + query
