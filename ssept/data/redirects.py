"""An opener of http and https addresses that a server cannot send just anywhere."""

import ipaddress
import socket
import urllib.parse
import urllib.request
from functools import cache
from http.client import HTTPMessage
from typing import IO

from ssept.errors import DataError

SECURE = "https"
SCHEMES = ("http", SECURE)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects that stay secure, and among hosts of the same kind.

    A server on the internet has no business with the services of this machine or its network.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request that follows, or refuse the redirect."""
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        problem = None
        if new.scheme not in SCHEMES or (old.scheme == SECURE and new.scheme != SECURE):
            problem = f"expected an address with {old.scheme}"
        elif not _kinds(new.hostname) <= _kinds(old.hostname):
            problem = f"expected a host of the same network as {old.hostname}"
        if problem:
            fp.close()
            raise DataError(
                f"{req.full_url}: the server redirects to {newurl[:100]!r}; {problem}: try another "
                "mirror"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@cache
def opener() -> urllib.request.OpenerDirector:
    """Make urllib's opener, without its handlers of files, FTP and data."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        director.add_handler(handler)
    return director


def _kinds(host: str | None) -> set[str]:
    """Where a host's addresses are; none where its name is known to a proxy only."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        return set()
    return {_kind(str(address[4][0])) for address in found}


def _kind(text: str) -> str:
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:  # the latter is this machine too
        return "machine"
    if address.is_link_local:
        return "link"
    return "internet" if address.is_global else "network"
