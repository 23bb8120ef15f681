"""What answers a request, whatever the protocol: models, sessions, batches and counters."""
