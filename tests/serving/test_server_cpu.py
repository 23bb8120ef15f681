"""The CPU time that a server uses under a load."""

from pathlib import Path

from ssept.serving.launch.uvicorn_app import uvicorn_app
from ssept.serving.load import open_loop
from ssept.serving.load.server_cpu import with_server_cpu

EXTRA_MS, RATE, SECONDS = 5.0, 100.0, 1.0


def test_the_cores_that_a_server_uses_are_those_of_its_requests(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    """A server that burns 5 ms of CPU time for each of 100 requests a second."""
    variables = {"SSEPT_TRIAL_EXTRA_MS": f"{EXTRA_MS}", "SSEPT_CHECKPOINT": str(small_checkpoint)}
    app = "ssept.decide.self_test.trial_servers:slowed"
    with uvicorn_app(app, tmp_path / "log", variables, ("--factory", "--lifespan=on")) as server:
        given = (server.address, "/health/live", [b"{}"], RATE, SECONDS, 16)
        result = with_server_cpu(lambda: open_loop.measure(*given), server.pid)
    assert result.server_cpu is not None
    used = result.server_cpu * result.seconds
    least = result.requests * EXTRA_MS / 1e3
    assert 0.8 * least <= used <= least + 1.0
    assert result.facts()["server_cpu"] == result.server_cpu
