"""A plugin under which each test fails once, after it was measured."""

from collections.abc import Iterator

import pytest

FAILED: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    if item.nodeid not in FAILED:
        FAILED.add(item.nodeid)
        pytest.fail("made to fail")
