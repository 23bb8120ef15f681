"""A fleet: the matrix once on each kind of host of a Ray cluster."""
