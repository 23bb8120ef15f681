"""Commands that decide: compare, gate, scale, sweep and tune."""
