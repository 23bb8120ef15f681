"""Verdicts: what to deploy, what is wrong."""
