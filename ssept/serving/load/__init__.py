"""Load on an HTTP server, by tools that others trust, and what it came to in one form."""
