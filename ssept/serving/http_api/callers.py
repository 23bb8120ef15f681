"""The caller policy: which hosts a request may name, and which web pages may send it.

What protects a server without a password is that only this machine reaches it. But a browser on
this machine runs pages of others. Such a page can send requests here (its name is in the Origin
header), or have its own name resolved to 127.0.0.1 (DNS rebinding: its name is in the Host header).
"""

from collections.abc import Iterable
from functools import lru_cache

from ssept.serving.http_api.asgi import CLOSE, RefusedError, Scope
from ssept.serving.settings import ANY, HOST

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
REMEMBERED = 64  # values of Host
SHOWN_CHARACTERS = 100


class CallerPolicy:
    """Checks the headers that name the host a request is for, and the page that sends it."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        """Prepare it.

        Args:
            hosts: names and addresses that are answered for, beside those of `LOOPBACK`; any port
                is. "*" for all.
            origins: web origins whose pages may call; "*" for all.
        """
        self._hosts = frozenset(host.lower() for host in (*LOOPBACK, *hosts))
        self._origins = frozenset(origin.encode() for origin in origins)
        self._is_ours = lru_cache(REMEMBERED)(self._read)

    def check(self, scope: Scope) -> None:
        """Let a request pass, or raise RefusedError."""
        host = origin = site = mode = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    raise RefusedError(400, "there is more than one Host header", [CLOSE])
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"sec-fetch-mode":
                mode = value
        if host is not None:
            if not self._is_ours(host):
                raise _foreign_host(host)
        elif scope["http_version"] >= "1.1":
            raise RefusedError(400, "the Host header is missing", [CLOSE])
        if origin is not None or site == b"cross-site":
            self._check_page(host or b"", origin, site, mode)

    def _read(self, host: bytes) -> bool:
        if ANY in self._hosts:
            return True
        found = HOST.fullmatch(host.decode("latin-1"))
        return found is not None and found[1].lower() in self._hosts

    def _check_page(
        self, host: bytes, origin: bytes | None, site: bytes | None, mode: bytes | None
    ) -> None:
        """Let pages pass that this server has sent, and those of the origins that may call."""
        if ANY.encode() in self._origins:
            return
        if origin is None:
            allowed = mode == b"navigate"  # a link to here: the other page cannot read the answer
        else:
            # Behind a proxy the page's host may be another one than ours: then only the browser
            # knows that the page is its own.
            own = site == b"same-origin" or origin.endswith(b"://" + host.lower())
            allowed = own or origin in self._origins
        if not allowed:
            page = "another site" if origin is None else _shown(origin)
            message = f"pages of {page} may not call this server; --cors-origins allows them"
            raise RefusedError(403, message, [CLOSE])


def _foreign_host(host: bytes) -> RefusedError:
    message = f"this server does not serve the host {_shown(host)}; --allowed-hosts adds hosts"
    return RefusedError(421, message, [CLOSE])


def _shown(value: bytes) -> str:
    return repr(value.decode("latin-1")[:SHOWN_CHARACTERS])
