"""An open-loop client: it sends each request at its time, whether earlier ones are answered or not.

h2load, which can keep a rate, was tried: it sends the requests of all its connections in bursts,
one a period, and so is itself the tail that it measures (3 ms in the median on a server that needs
30 µs, at a tenth of what that server can do). LoadGen (`ssept.serving.load.loadgen`) keeps Poisson
arrivals, but does not separate the times of refused requests from others; this does.
"""

import gc
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssept.serving.load.answers import ExpectedAnswers
from ssept.serving.load.connections import OK, Connections, Log
from ssept.serving.load.result import Percentiles, Result

CONNECTIONS = 512
LEAD_SECONDS = 0.1  # from the first look at the clock to the start
POLL_SECONDS = 0.1
SEED = 0


def measure(
    address: tuple[str, int],
    path: str,
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    expected: ExpectedAnswers | None = None,
) -> Result:
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

    Raises:
        AnswerError: an answer is wrong.
        LoadError: the server cannot be reached, or does not answer any more.
    """
    planned = _arrivals(rate, seconds)
    log = Log(len(planned))
    with Connections(address, path, bodies, connections, log) as sender:
        collecting = gc.isenabled()
        gc.disable()
        try:
            cpu = time.process_time()
            start = time.perf_counter() + LEAD_SECONDS
            _run(sender, (start + planned).tolist())
            cpu = time.process_time() - cpu
            took = time.perf_counter() - start
        finally:
            if collecting:
                gc.enable()
    if expected:
        expected.check_predictions(log.answers.items())
    late = np.frombuffer(log.asked) - (start + planned)
    latencies = 1e3 * (np.frombuffer(log.ended) - (start + planned))
    good = np.frombuffer(log.status, np.int16) == OK
    return Result(
        rate=float(good.sum() / took),
        requests=len(planned),
        seconds=took,
        latency=Percentiles.of(latencies[good]),
        errors=log.errors(),
        client_cpu=cpu / took,
        offered=len(planned) / seconds,
        refused=Percentiles.of(latencies[~good]),
        waited=log.waited(),
        late_mean_ms=1e3 * float(late.mean()),
        late_p99_ms=1e3 * float(np.percentile(late, 99)),
    )


def _arrivals(rate: float, seconds: float) -> npt.NDArray[np.float64]:
    """Draw the times of a Poisson process with a fixed number of events: sorted uniform times."""
    number = max(1, round(rate * seconds))
    return np.sort(np.random.default_rng(SEED).uniform(0, seconds, number))


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
