"""Servers started from another process: supervised, and ended with it."""
