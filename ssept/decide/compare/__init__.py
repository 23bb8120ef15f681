"""Saved runs compared by their ratios to a baseline of the same loop."""
