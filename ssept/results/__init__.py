"""Saved runs: what a file of one holds, how it is read and written, what it says of a cell."""
