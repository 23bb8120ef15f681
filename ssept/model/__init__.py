"""SSE-PT in torch: the network, its checkpoint files and its training."""
