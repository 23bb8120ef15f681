"""The HTTP errors for requests that the server has no time for."""

from ssept.serving.core.telemetry import Telemetry
from ssept.serving.http_api.asgi import RETRY_AFTER, RefusedError

REASONS = {
    "queue": "too many requests are waiting",
    "age": "the request waited too long",
    "deadline": "the request exceeded its deadline",
}


def overload_error(reason: str, *headers: tuple[bytes, bytes]) -> RefusedError:
    """Return a 503 error for one of `REASONS`."""
    return RefusedError(503, f"{REASONS[reason]}; try again", [RETRY_AFTER, *headers])


def overloaded(telemetry: Telemetry, reason: str) -> RefusedError:
    """Count a refused request, and return its 503 error."""
    telemetry.refused.labels(reason).inc()
    return overload_error(reason)
