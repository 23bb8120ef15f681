"""The Open Inference Protocol, `/v2/…`: the paths and answers of Triton, for its clients."""

from ssept.serving.http_api.v2.routes import router, routes
from ssept.serving.http_api.v2.tensors import LENGTH_HEADER

__all__ = ["LENGTH_HEADER", "router", "routes"]
