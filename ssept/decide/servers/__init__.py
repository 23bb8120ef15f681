"""Servers side by side: the rate that each carries within one promise of latency."""
