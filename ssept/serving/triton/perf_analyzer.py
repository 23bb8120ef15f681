"""perf_analyzer, Triton's own load generator: run as it is, or for its figures."""

import contextlib
import csv
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssept.children import finished
from ssept.errors import LoadError, one_line
from ssept.serving.triton.addresses import is_local, without_proxies
from ssept.serving.triton.environment import tools

# Three windows of one second, which then count as stable: on a small machine the default, windows
# of 5 s until three differ by less than 10 %, often ends without a figure.
WINDOWS = ("-p", "1000", "-r", "3", "-s", "999")
TIMEOUT_SECONDS = 120
LONGEST = 600  # characters of what it said, in an error
DEFAULT_URL = "localhost:8000"  # of perf_analyzer
PER_SECOND = "Inferences/Second"


@dataclass(frozen=True)
class Load:
    """A load: a number of requests at a time, or a number a second.

    Attributes:
        url: host and port, of HTTP or of gRPC as `protocol` says.
        model: its name on the server.
        protocol: "http" or "grpc".
        batch: sequences in a request.
        concurrency: requests under way at any time, the next one sent when one is answered.
        request_rate: instead, requests a second, sent at even times whether answered or not.
    """

    url: str
    model: str
    protocol: str = "http"
    batch: int = 1
    concurrency: int = 1
    request_rate: float | None = None

    def arguments(self) -> list[str]:
        """Return the load as arguments of perf_analyzer."""
        amount = ("--concurrency-range", f"{self.concurrency}")
        if self.request_rate is not None:
            amount = ("--request-rate-range", f"{self.request_rate:g}")
        place = ("-m", self.model, "-i", self.protocol, "-u", self.url)
        return [*place, "-b", f"{self.batch}", *amount, *WINDOWS]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one load. Times are means over requests, except the percentiles.

    Attributes:
        inferences_per_s: sequences answered a second: requests times their batch.
        latency_us: of a request, seen by the client, with its percentiles.
        client_send_us, client_receive_us: in the client's own library.
        network_us: on the way, and in the server before it queues and after it has computed.
        queue_us: until an instance is free and the batch is formed.
        compute_input_us, compute_infer_us, compute_output_us: in the instance.
    """

    inferences_per_s: float
    latency_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    client_send_us: float
    network_us: float
    queue_us: float
    compute_input_us: float
    compute_infer_us: float
    compute_output_us: float
    client_receive_us: float


TITLES = {
    "inferences_per_s": PER_SECOND,
    "latency_us": "Avg latency",
    "p50_us": "p50 latency",
    "p90_us": "p90 latency",
    "p95_us": "p95 latency",
    "p99_us": "p99 latency",
    "client_send_us": "Client Send",
    "network_us": "Network+Server Send/Recv",
    "queue_us": "Server Queue",
    "compute_input_us": "Server Compute Input",
    "compute_infer_us": "Server Compute Infer",
    "compute_output_us": "Server Compute Output",
    "client_receive_us": "Client Recv",
}


def run(arguments: Sequence[str]) -> int:
    """Run perf_analyzer with its own arguments in this terminal; returns its exit status.

    Raises:
        SseptError: its environment cannot be made.
    """
    with _variables(_url(arguments)) as variables:
        command = [str(tools().perf_analyzer), *arguments]
        return subprocess.run(command, env=variables, check=False).returncode  # noqa: S603


def measure(load: Load) -> Figures:
    """Measure a load; perf_analyzer draws random ids, most of them outside the catalog.

    Raises:
        LoadError: a request failed, or there are no figures.
        SseptError: its environment cannot be made.
    """
    with _variables(load.url) as variables, tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        report = Path(folder) / "report.csv"
        own = ["-f", str(report), "--verbose-csv"]
        command = [str(tools().perf_analyzer), *load.arguments(), *own]
        try:
            done = finished(command, env=variables, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"{load}: perf_analyzer ran for {TIMEOUT_SECONDS} s") from error
        if done.returncode:  # it stops at the first request that fails
            said = one_line(done.stderr or done.stdout, LONGEST)
            raise LoadError(f"{load}: perf_analyzer ended with {done.returncode}: {said}")
        return read_report(report)


def read_report(path: Path) -> Figures:
    """Read the figures from a CSV report of perf_analyzer with `--verbose-csv`.

    Raises:
        LoadError: there is no report, or not exactly one row with these figures.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
        figures = Figures(**{name: float(row[title]) for name, title in TITLES.items()})
    except (OSError, KeyError, ValueError) as error:
        raise LoadError(f"{path}: no report of perf_analyzer on one load: {error!r}") from error
    if figures.inferences_per_s <= 0:
        raise LoadError(f"{path}: no request was answered")
    return figures


def _url(arguments: Sequence[str]) -> str:
    """Return the server that perf_analyzer's own arguments name."""
    return dict(zip(arguments, [*arguments[1:], ""], strict=True)).get("-u", DEFAULT_URL)


@contextlib.contextmanager
def _variables(url: str) -> Iterator[dict[str, str]]:
    """Yield the environment variables of perf_analyzer: they point to libraries that it needs.

    libcurl and gRPC would ask a proxy for this machine too.
    """
    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        tools().link_libraries(Path(folder))
        variables = without_proxies(os.environ) if is_local(url) else dict(os.environ)
        yield variables | {"LD_LIBRARY_PATH": folder}
