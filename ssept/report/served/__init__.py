"""Reports of running servers: a promise that was checked, and the capacity that follows."""
