"""The promise of a running server: p99 within a limit at a rate of requests."""
