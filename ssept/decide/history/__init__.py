"""The history of a branch: when the figures of its saved runs changed for good."""
