"""The Ray cluster that a fleet is."""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ssept.errors import SseptError, one_line

LOCAL = "local"  # an address: a cluster of this process alone
LONGEST = 300
CONNECT_SECONDS = 5.0


@contextmanager
def connected(address: str, runtime_env: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Connect to a cluster; yields the package ray.

    Args:
        address: as of `ray.init`; LOCAL for one that lives as long as the block.
        runtime_env: of the job.

    Raises:
        SseptError: Ray is missing, or there is no cluster.
    """
    if address == LOCAL:  # a token that Ray makes itself would lie in the user's home
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is raised, too
    # Or else Ray asks the internet where it runs, and sends what it finds.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")  # it prints what it is
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise SseptError(
            f"a fleet runs on a Ray cluster, and {error.name} is not installed: install the fleet "
            "extra"
        ) from error
    _check_reachable(address)
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == LOCAL else {}
    try:
        ray.init(
            address=address,
            runtime_env=dict(runtime_env or {}),
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
            **own,
        )
    except Exception as error:  # Ray raises that very class where it was too slow to start
        if address == LOCAL:
            raise SseptError(
                f"--address={address}: Ray did not start: {said(error)}: repeat the command when "
                "this machine has less to do"
            ) from error
        raise SseptError(
            f"--address={address}: no Ray cluster: {said(error)}: start one: `ray start --head`"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens, which Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:  # auto, local
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SseptError(
            f"--address={address}: no Ray cluster: {said(error)}: start one: `ray start --head`"
        ) from error


def said(error: BaseException) -> str:
    """Return what an error of Ray says, as one line."""
    return one_line(str(error), LONGEST)
