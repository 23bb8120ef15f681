"""An open-loop client: it sends each request at its time, whether earlier ones are answered or not.

h2load, which can keep a rate, was tried: it sends the requests of all its connections in bursts,
one a period, and so is itself the tail that it measures (3 ms in the median on a server that needs
30 µs, at a tenth of what that server can do). LoadGen (`ssept.serving.load.loadgen`) keeps Poisson
arrivals, but does not separate the times of refused requests from others; this does.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssept.metrics import FloatArray
from ssept.serving.load.answers import ExpectedAnswers
from ssept.serving.load.connections import OK, Connections, Log
from ssept.serving.load.result import Percentiles, Result

CONNECTIONS = 512
LEAD_SECONDS = 0.1  # from the first look at the clock to the start
POLL_SECONDS = 0.1
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What became of each request of a load, in the order in which they were due.

    Attributes:
        due: when each was to be sent, in seconds from the start, float64[n].
        late_ms: how much later than that it was sent, float64[n].
        latency_ms: from when it was due until its end, float64[n].
        good: whether it was answered with 200, bool[n].
        errors: how many failed, by kind.
        waited: how many found no connection free.
        seconds: how long all of it took.
        client_cpu: the share of a core that the client used.
    """

    due: FloatArray
    late_ms: FloatArray
    latency_ms: FloatArray
    good: npt.NDArray[np.bool_]
    errors: dict[str, int]
    waited: int
    seconds: float
    client_cpu: float

    def result(self, offered: float) -> Result:
        """Summarize the load; `offered` is the planned rate, requests a second."""
        return Result(
            rate=float(self.good.sum() / self.seconds),
            requests=len(self.due),
            seconds=self.seconds,
            latency=Percentiles.of(self.latency_ms[self.good]),
            errors=self.errors,
            client_cpu=self.client_cpu,
            offered=offered,
            refused=Percentiles.of(self.latency_ms[~self.good]),
            waited=self.waited,
            late_mean_ms=float(self.late_ms.mean()),
            late_p99_ms=float(np.percentile(self.late_ms, 99)),
        )


def measure(
    address: tuple[str, int],
    path: str,
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    expected: ExpectedAnswers | None = None,
) -> Result:
    """Post the bodies in turn at the times of a Poisson process, and summarize what they took.

    Args and errors as for `send`.
    """
    sent = send(address, path, bodies, rate, seconds, connections, expected)
    return sent.result(len(sent.due) / seconds)


def send(
    address: tuple[str, int],
    path: str,
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    expected: ExpectedAnswers | None = None,
    seed: int = SEED,
) -> Requests:
    """Post the bodies in turn at the times of a Poisson process.

    Args:
        address: the server's host and port.
        path: to post to.
        bodies: of the requests.
        rate: requests a second, on average.
        seconds: how long.
        connections: how many are kept. A request that finds none free waits for one, at the latest
            until the time is over.
        expected: what the bodies have to be answered with; a sample is compared after the load.
        seed: of the times. Loads that are judged together need different ones.

    Raises:
        AnswerError: an answer is wrong.
        LoadError: the server cannot be reached, or does not answer any more.
    """
    due = _arrivals(rate, seconds, seed)
    log = Log(len(due))
    with Connections(address, path, bodies, connections, log) as sender:
        collecting = gc.isenabled()
        gc.disable()
        try:
            cpu = time.process_time()
            start = time.perf_counter() + LEAD_SECONDS
            _run(sender, (start + due).tolist())
            cpu = time.process_time() - cpu
            took = time.perf_counter() - start
        finally:
            if collecting:
                gc.enable()
    if expected:
        expected.check_predictions(log.answers.items())
    return Requests(
        due=due,
        late_ms=1e3 * (np.frombuffer(log.asked) - (start + due)),
        latency_ms=1e3 * (np.frombuffer(log.ended) - (start + due)),
        good=np.frombuffer(log.status, np.int16) == OK,
        errors=log.errors(),
        waited=log.waited(),
        seconds=took,
        client_cpu=cpu / took,
    )


def _arrivals(rate: float, seconds: float, seed: int) -> FloatArray:
    """Draw the times of a Poisson process with a fixed number of events: sorted uniform times."""
    number = max(1, round(rate * seconds))
    return np.sort(np.random.default_rng(seed).uniform(0, seconds, number))


def _run(sender: Connections, times: list[float]) -> None:
    """Send each request at its time, and return when all that could be sent are over."""
    following = 0
    while sender.left:
        now = time.perf_counter()
        while following < len(times) and times[following] <= now:
            sender.send(following)
            following += 1
        if following == len(times):
            sender.drop_waiting()
        until = times[following] - time.perf_counter() if following < len(times) else POLL_SECONDS
        sender.poll(min(until, POLL_SECONDS))
