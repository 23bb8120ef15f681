"""Replicas of a server for a peak rate, computed from saved runs."""
