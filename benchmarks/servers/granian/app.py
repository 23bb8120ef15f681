"""The application of `ssept serve`, for Granian: `granian --interface=asgi app:app`."""

from ssept.serving.app import app

__all__ = ["app"]
