"""Models, sessions, batches and counters behind the HTTP routes, the same for each protocol."""
