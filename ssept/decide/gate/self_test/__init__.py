"""The gate tried on itself: its rates of false alarms and of detection."""
