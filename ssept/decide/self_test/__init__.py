"""Self-test of every verdict and interval: how often each is wrong where the truth is known."""
