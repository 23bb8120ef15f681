"""Saved runs in the forms of the tools where teams keep their numbers."""
