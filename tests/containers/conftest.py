"""Images, built once each, in a Docker engine."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.containers.engine import Engine, refusal, running

ROOT = Path(__file__).parents[2]
REQUIRED = "SSEPT_REQUIRE_DOCKER"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if reason := refusal():
        (pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip)(
            f"{reason}: see `tox -e docker`"
        )
    with running() as engine:
        yield engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> Callable[[str], str]:
    """Build docker/Dockerfile.NAME at the first call."""
    return cache(lambda name: engine.build(name, ROOT))
