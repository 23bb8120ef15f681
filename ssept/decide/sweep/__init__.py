"""Which layers of the rewritten network to store and multiply in INT8, by measurement."""
