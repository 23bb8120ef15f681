"""Addresses of this machine alone, and the environment of clients that are to reach them."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def is_local(url: str) -> bool:
    """Return whether a host and port, with or without a scheme, are of this machine alone."""
    try:
        return is_loopback(urlsplit(url if "//" in url else f"//{url}").hostname or "")
    except ValueError:
        return False


def without_proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables without those that name a proxy.

    Programs read `no_proxy` each in their own way: gRPC takes no `*`, older ones no networks.
    """
    return {name: text for name, text in variables.items() if not name.lower().endswith("_proxy")}
