"""A plugin under which the function of $SSEPT_TEST_RAISE, module:name, raises an error of ours."""

import os
import pkgutil
from typing import Any, NoReturn

from ssept.errors import ProviderError

MESSAGE = "toy: out of luck; try another"


def deep(levels: int) -> NoReturn:
    """Raise it from far below, by way of another error."""
    if levels:
        deep(levels - 1)
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ProviderError(MESSAGE) from error


def fail(*_: Any, **__: Any) -> NoReturn:
    deep(20)


def pytest_configure() -> None:
    module, _, name = os.environ["SSEPT_TEST_RAISE"].partition(":")
    owner, _, attribute = name.rpartition(".")
    setattr(pkgutil.resolve_name(f"{module}:{owner}"), attribute, fail)
