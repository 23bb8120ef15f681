"""Refusals of requests for which there is no time."""

from ssept.serving.core.registry import Service
from ssept.serving.http_api.asgi import RETRY_AFTER, RefusedError

OVERLOADED = {
    "queue": "too many requests wait",
    "age": "it waited too long",
    "deadline": "it took longer than the deadline",
}


def too_much(reason: str, *headers: tuple[bytes, bytes]) -> RefusedError:
    """The answer to a request for which there is no time, for a reason of `OVERLOADED`."""
    return RefusedError(503, f"{OVERLOADED[reason]}; try again", [RETRY_AFTER, *headers])


def overloaded(service: Service, reason: str) -> RefusedError:
    """Count a request for which there is no time, and return its answer.

    Args:
        service: that has no time for it.
        reason: of `OVERLOADED`.
    """
    service.telemetry.refused.labels(reason).inc()
    return too_much(reason)
