"""Cost as the work grows: cells at several sizes, beside the least possible time of their work."""
