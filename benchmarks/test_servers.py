"""Which server: the rate that each carries within one promise of latency, side by side."""

from dataclasses import asdict
from typing import Any

import pytest

from fixtures.fastapi import NAME, PROVIDER, VARIANT
from fixtures.servers import SERVERS
from fixtures.variants import Artifacts, model_facts
from ssept.decide.servers.comparison import Comparison
from ssept.decide.servers.summary import summary
from ssept.results.schema import RATE, TURNS

pytestmark = pytest.mark.cell(VARIANT, NAME)


@pytest.fixture
def facts(
    request: pytest.FixtureRequest, artifacts: Artifacts, pytestconfig: pytest.Config
) -> dict[str, Any]:
    """Return what is saved of the model and the promise with every measurement."""
    name = request.node.callspec.params.get("compared_server")
    variant = SERVERS[name].variant if name else VARIANT
    own = {
        "variant": variant,
        "provider": PROVIDER,
        "threads": 1,
        "options": {},
        "limit_ms": pytestconfig.getoption("--p99-ms"),
    }
    return own | model_facts(artifacts.get(variant))


def test_round(
    round_number: int, comparison: Comparison, facts: dict[str, Any], benchmark: Any
) -> None:
    """Give each server a turn; what it gave is saved at once."""
    del round_number
    if reason := comparison.enough():
        pytest.skip(reason)
    turns = benchmark.pedantic(comparison.round, rounds=1)
    benchmark.extra_info |= facts | {
        "measure": TURNS,
        "turns": {turn.server: turn.as_json() for turn in turns},
    }


def test_carried(
    compared_server: str, comparison: Comparison, facts: dict[str, Any], benchmark: Any
) -> None:
    """Sum up its turns: the rate, and how many times as much as the fastest it carries."""
    turns = comparison.of(compared_server)
    if not turns:
        pytest.skip("no round of this server was measured")
    fastest = comparison.fastest() or compared_server
    found = benchmark.pedantic(summary, (turns, comparison.of(fastest)), rounds=1)
    benchmark.extra_info |= facts | {
        "measure": RATE,
        "server": compared_server,
        "against": fastest,
        **asdict(found),
    }
    assert not found.fault, found.fault
