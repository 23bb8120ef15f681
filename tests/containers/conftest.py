"""Images, built once each, in a Docker engine."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.containers.engine import Engine, NoEngineError, running

ROOT = Path(__file__).parents[2]
REQUIRED = "SSEPT_REQUIRE_DOCKER"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(running())
        except NoEngineError as error:
            (pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip)(
                f"{error}: see `tox -e docker`"
            )
        yield engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> Callable[[str], str]:
    """Build docker/Dockerfile.NAME at the first call."""
    return cache(lambda name: engine.build(name, ROOT))
