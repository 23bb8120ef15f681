"""Timing: statistics of repeated calls, paired loops and the environment they ran in."""
