"""Servers of a model: the HTTP server, Triton, and clients that measure them."""
