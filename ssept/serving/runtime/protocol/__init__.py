"""A connection of HTTP/1.1: its limits, its end, and what is answered without ASGI."""
