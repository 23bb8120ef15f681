"""Names the plugins of fixtures/, each after those that it imports; nothing else."""

pytest_plugins = [
    "fixtures.options",
    "fixtures.preconditions",
    "fixtures.selection",
    "fixtures.variants",
    "fixtures.data",
    "fixtures.cells",
    "fixtures.provenance",
    "fixtures.resume",
    "fixtures.triton",
    "fixtures.fastapi",
    "fixtures.servers",
    "fixtures.results",
    "fixtures.progress",
]
