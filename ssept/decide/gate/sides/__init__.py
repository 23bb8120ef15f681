"""The two sides of a gate: what the user named, made ready to run."""
