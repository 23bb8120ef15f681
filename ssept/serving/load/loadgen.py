"""MLPerf LoadGen, its Server scenario: Poisson arrivals, latency from when each was to be sent.

LoadGen (github.com/mlcommons/inference, loadgen) is used for its standing: published figures follow
its rules. It plans, waits and counts; this module only sends. `open_loop` measures overload, where
LoadGen does not separate refused requests from others.
"""

import importlib
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ssept.errors import LoadError
from ssept.measure.statistics import MINIMUM_SAMPLES
from ssept.serving.load.answers import ExpectedAnswers
from ssept.serving.load.connections import CLOSED, OK, Connections, Log
from ssept.serving.load.open_loop import CONNECTIONS, POLL_SECONDS
from ssept.serving.load.result import Percentiles, Result

LIBRARY = "mlperf_loadgen"
SUMMARY = "mlperf_log_summary.txt"
FIGURE = re.compile(r"^(.+?) *: *([\d.]+)$", re.MULTILINE)
QUERIES = 1  # in its library of samples: the bodies are taken in turn


def unavailable() -> str | None:
    """Return why LoadGen cannot be used here; None if it can."""
    if find_spec(LIBRARY):
        return None
    return "MLPerf LoadGen is not installed: pip install mlcommons-loadgen"


def measure(
    address: tuple[str, int],
    path: str,
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    expected: ExpectedAnswers | None = None,
) -> Result:
    """Post the bodies in turn at the times that LoadGen chooses.

    Args:
        address: the server's host and port.
        path: to post to.
        bodies: of the requests.
        rate: requests a second, on average.
        seconds: how long, about.
        connections: how many are kept. A request that finds none free waits for one.
        expected: what the bodies have to be answered with; a sample is compared after the load.

    Raises:
        AnswerError: an answer is wrong.
        LoadError: LoadGen is not there; the server cannot be reached, or does not answer any more.
    """
    if reason := unavailable():
        raise LoadError(reason)
    requests = max(1, round(rate * seconds))
    log = Log(requests)
    system = _System(log)
    cpu = time.process_time()
    with Connections(address, path, bodies, connections, log, system.complete) as sender:
        figures = system.load(sender, rate)
    cpu = time.process_time() - cpu
    if expected:
        expected.check_predictions(log.answers.items())
    asked, ended = np.frombuffer(log.asked), np.frombuffer(log.ended)
    took = float(ended.max() - asked.min())
    latencies = [
        figures[f"{q}.00 percentile latency (ns)"] / 1e6 if requests >= least else None
        for q, least in MINIMUM_SAMPLES.items()
    ]
    return Result(
        rate=int((np.frombuffer(log.status, np.int16) == OK).sum()) / took,
        requests=requests,
        seconds=took,
        latency=Percentiles(*latencies),
        errors=log.errors(),
        client_cpu=cpu / took,
        offered=figures["Scheduled samples per second"],
        waited=log.waited(),
        # It counts from the plan, and the log from when it asked for the sending.
        late_mean_ms=figures["Mean latency (ns)"] / 1e6 - 1e3 * float((ended - asked).mean()),
    )


class _System:
    """LoadGen's system under test: it sends queries on, and reports their end."""

    def __init__(self, log: Log) -> None:
        self._library: Any = importlib.import_module(LIBRARY)
        self._log = log
        self._queries: list[int] = []  # LoadGen's id of each request
        self._error: LoadError | None = None
        self._ended = threading.Event()

    def complete(self, number: int) -> None:
        """Report to LoadGen that a request is over."""
        self._library.QuerySamplesComplete(
            [self._library.QuerySampleResponse(self._queries[number], 0, 0)]
        )

    def load(self, sender: Connections, rate: float) -> dict[str, float]:
        """Run LoadGen; returns the figures of its summary by their names there."""

        def issue(queries: list[int], _: list[int]) -> None:
            for query in queries:
                self._queries.append(query)
                sender.send(len(self._queries) - 1)

        library = self._library
        system = library.ConstructFastSUT(issue, lambda: None)
        samples = library.ConstructQSL(QUERIES, QUERIES, lambda _: None, lambda _: None)
        receiver = threading.Thread(target=self._receive, args=(sender,))
        receiver.start()
        try:
            with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
                settings, logs = self._settings(rate), self._logs(folder)
                library.StartTestWithLogSettings(system, samples, settings, logs, "")
                text = (Path(folder) / SUMMARY).read_text(encoding="utf-8")
        finally:
            self._ended.set()
            receiver.join()
            library.DestroyQSL(samples)
            library.DestroyFastSUT(system)
        if self._error:
            raise self._error
        return {name: float(value) for name, value in FIGURE.findall(text)}

    def _receive(self, sender: Connections) -> None:
        """Take in answers; where that fails, end all requests, since LoadGen waits for them."""
        try:
            while not self._ended.is_set():
                sender.poll(POLL_SECONDS)
        except LoadError as error:
            self._error = error
        while not self._ended.wait(POLL_SECONDS):
            for number in range(len(self._queries)):
                if not self._log.status[number]:
                    self._log.status[number] = CLOSED
                    self.complete(number)

    def _settings(self, rate: float) -> Any:
        settings = self._library.TestSettings()
        settings.scenario = self._library.TestScenario.Server
        settings.mode = self._library.TestMode.PerformanceOnly
        settings.server_target_qps = rate
        settings.min_duration_ms = 0
        settings.min_query_count = settings.max_query_count = len(self._log.status)
        return settings

    def _logs(self, folder: str) -> Any:
        output = self._library.LogOutputSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        logs = self._library.LogSettings()
        logs.log_output = output
        logs.enable_trace = False
        return logs
