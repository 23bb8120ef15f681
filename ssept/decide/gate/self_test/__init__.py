"""Self-test of the gate: its rates of false alarms and of detection."""
