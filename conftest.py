"""Names the plugins of fixtures/, nothing else."""

pytest_plugins = [
    "fixtures.options",
    "fixtures.data",
    "fixtures.variants",
    "fixtures.cells",
    "fixtures.results",
]
