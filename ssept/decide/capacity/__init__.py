"""Replicas of a server for a peak rate, from saved runs: what they can answer, and the arithmetic."""
