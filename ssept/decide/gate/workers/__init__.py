"""Worker processes of a gate: one a side, started afresh for each pass."""
