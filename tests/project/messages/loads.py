"""The messages of docs/troubleshooting.md, "Loads and capacity"."""

from collections.abc import Callable

import numpy as np

from ssept.serving.load.open_loop import Requests
from ssept.serving.load.target import Target
from tests.project.messages.user import RUNS, User, case


@case
def no_answer(user: User) -> None:
    user.promise("--rate=100")


@case
def client_late(user: User) -> None:
    """A client that gets its turn 50 ms late."""

    def sender(*_: object) -> Callable[[float, int], Requests]:
        def send(seconds: float, seed: int) -> Requests:
            count = round(100 * seconds)
            return Requests(
                due=np.linspace(0, seconds, count),
                late_ms=np.full(count, 50.0),
                latency_ms=np.full(count, 51.0),
                good=np.ones(count, bool),
                errors={},
                waited=0,
                seconds=seconds,
                client_cpu=0.1,
            )

        return send

    user.patch.setattr(Target, "check", lambda *_: None)
    user.patch.setattr(Target, "sender", sender)
    user.promise("--rate=100")


@case
def too_short(user: User) -> None:
    user.promise("--rate=100", "--seconds=1")


@case
def no_largest_rate(user: User) -> None:
    user.ssept("capacity", RUNS[0], "--p99-ms=10", "--peak-rate=100")
