"""The schema of a saved run: pytest-benchmark's JSON, and what the matrix adds to it.

A field without a default must be there. What a file holds beyond these fields nobody here reads.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from ssept.results.provenance import CommitInfo, MachineInfo
from ssept.results.typed import (
    AnyEstimate,
    Count,
    Natural,
    NotNegative,
    Number,
    Positive,
    PositiveEstimate,
    Share,
    ShareEstimate,
)

SCHEMA = 1
ACCURACY, LATENCY, REAL_LENGTHS = "accuracy", "latency", "real_lengths"
ONE_CORE = "edge"  # always one thread on one core, the baseline's calls too
ENERGY = "energy"
SERVED = "served"  # begins the measures of a model behind a server
TURNS, RATE = f"{SERVED} turns", f"{SERVED} rate"  # of compared servers
EMPTY = "empty"  # among compared servers, the one without a model


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the matrix says of each benchmark, whatever it measures.

    Attributes:
        measure: what was measured.
        variant, provider: of which cell.
        threads: that a call may use.
        options: of the provider, where they are not the defaults.
        checkpoint, checkpoint_sha256, data_hash: what the model was made of.
        artifact_sha256, size_bytes: of the model file.
        placement: how many nodes of the graph ran where.
    """

    measure: str
    variant: str
    provider: str
    threads: Count
    options: dict[str, Any]
    checkpoint: str | None = None
    checkpoint_sha256: str
    data_hash: str
    artifact_sha256: str
    size_bytes: Count
    placement: dict[str, Natural] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How the interval of a ratio was made.

    Attributes:
        method: that estimates the ratio.
        unit: what one observation is.
        n: how many there are.
        confidence: of the two-sided interval.
    """

    method: str
    unit: str
    n: Count
    confidence: Share


@dataclass(frozen=True, kw_only=True)
class Timed(Facts):
    """Calls timed beside the baseline's; None where there were too few for a figure.

    Attributes:
        interval: of the speedup. Runs that do not say it are older: their intervals are over
            blocks of the calls of one pair of sessions.
    """

    batch: Count
    speedup: PositiveEstimate | None
    p50_ms: PositiveEstimate | None = None
    p95_ms: PositiveEstimate | None = None
    p99_ms: PositiveEstimate | None = None
    fps: Positive | None = None
    interval: Interval | None = None
    cost_per_million: NotNegative | None = None
    call: str | None = None
    length: Count | None = None


@dataclass(frozen=True)
class Ranking:
    """How well a model ranks: NDCG@10 and HR@10."""

    ndcg: ShareEstimate
    hr: ShareEstimate | None = None


@dataclass(frozen=True, kw_only=True)
class Accuracy(Facts):
    """Over the whole catalog."""

    split: str
    full: Ranking


@dataclass(frozen=True, kw_only=True)
class Budget(Facts):
    """The change of NDCG@10 against the baseline, and the share of it that may be lost."""

    ndcg_change: AnyEstimate
    max_ndcg_loss: NotNegative | None = None


@dataclass(frozen=True, kw_only=True)
class Agreement(Facts):
    """How much of torch's best ten is among a cell's own."""

    top10_overlap: Share


@dataclass(frozen=True, kw_only=True)
class Footprint(Facts):
    """A cold start in a process of its own."""

    total_s: NotNegative
    peak_rss_bytes: NotNegative


@dataclass(frozen=True, kw_only=True)
class Concurrency(Facts):
    """Sessions side by side."""

    sessions: Count
    scaling: NotNegative


@dataclass(frozen=True, kw_only=True)
class Sustained(Facts):
    """A load without a pause."""

    calls: Natural
    seconds: Positive
    slowdown: NotNegative


@dataclass(frozen=True, kw_only=True)
class Energy(Facts):
    """What the machine counted while a cell ran alone; `source` names the counter."""

    batch: Count
    joules_per_thousand: NotNegative
    source: str


@dataclass(frozen=True, kw_only=True)
class LoadFigures:
    """Sequences a second, and parts of the time of a request in µs."""

    inferences_per_s: NotNegative
    p50_us: NotNegative
    p99_us: NotNegative
    latency_us: NotNegative
    queue_us: NotNegative
    compute_input_us: NotNegative
    compute_infer_us: NotNegative
    compute_output_us: NotNegative


@dataclass(frozen=True, kw_only=True)
class ServedLoad(Facts):
    """A load on a model server, and its own account of it."""

    served: str
    protocol: str
    load: str
    figures: LoadFigures


@dataclass(frozen=True)
class Percentiles:
    """Latencies of requests; None where there were too few."""

    p50_ms: NotNegative | None
    p99_ms: NotNegative | None


@dataclass(frozen=True, kw_only=True)
class RequestFigures:
    """Requests as their client saw them, and the CPU cores that client and server used."""

    rate: NotNegative
    latency: Percentiles
    late_mean_ms: Number | None
    client_bound: bool
    errors: dict[str, Natural]
    client_cpu: NotNegative | None = None
    server_cpu: NotNegative | None = None


@dataclass(frozen=True, kw_only=True)
class ServedRequests(Facts):
    """A load on the HTTP server; of a search the largest rate, and its limit of p99."""

    served: str
    client: str
    load: str
    result: RequestFigures
    largest_rate: Positive | None = None
    limit_ms: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class ServedRatio(Facts):
    """Two servers, measured alternately under one load; `interval` as in `Timed`."""

    served: str
    against: str
    load: str
    ratio: PositiveEstimate
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class ServedTurns(Facts):
    """What each server gave in one round of a comparison, as it was measured."""

    limit_ms: Positive
    turns: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ServedRate(Facts):
    """The rate that a server carries within a limit of p99; see `ssept.decide.servers.summary`."""

    server: str
    against: str
    limit_ms: Positive
    rate: Positive | None
    rate_interval: PositiveEstimate | None
    ratio: Positive | None
    ratio_interval: PositiveEstimate | None
    interval: Interval | None
    cold_s: NotNegative | None
    cpu_ms: NotNegative | None
    rss_bytes: NotNegative | None
    overload: NotNegative | None
    requests: Natural
    failed: dict[str, Natural]
    client_bound: bool
    fault: str


MEASURES: dict[str, type[Facts]] = {
    **dict.fromkeys((LATENCY, REAL_LENGTHS, ONE_CORE, "throughput"), Timed),
    ACCURACY: Accuracy,
    "budget": Budget,
    "agreement": Agreement,
    "footprint": Footprint,
    "concurrency": Concurrency,
    "sustained": Sustained,
    ENERGY: Energy,
    f"{SERVED} load": ServedLoad,
    f"{SERVED} requests": ServedRequests,
    f"{SERVED} ratio": ServedRatio,
    TURNS: ServedTurns,
    RATE: ServedRate,
}


def _facts_of(value: Any) -> type[Facts]:
    """Return the record type of these facts; other tests of the timing loop are compared too."""
    measure = value.get("measure") if isinstance(value, dict) else None
    other = Timed if isinstance(value, dict) and "speedup" in value else Facts
    return MEASURES.get(measure, other) if isinstance(measure, str) else Facts


@dataclass(frozen=True)
class Stats:
    """Of the timed rounds, in seconds."""

    median: Positive
    q1: Positive
    q3: Positive


@dataclass(frozen=True, kw_only=True)
class PlainBenchmark:
    """A benchmark of any project."""

    name: str
    fullname: str
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class Benchmark(PlainBenchmark):
    """A benchmark of the matrix; `params` is what the test was parametrised with."""

    params: Any = None
    extra_info: Annotated[Facts, _facts_of]


@dataclass(frozen=True)
class Outcome:
    """How a test of a cell ended: "measured", "skipped" or "failed", and why."""

    test: str
    variant: str
    provider: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Hashes:
    """SHA-256 of each part of the file, and of all these hashes; see `ssept.results.hashes`."""

    parts: dict[str, str]
    whole: str


@dataclass(frozen=True)
class About:
    """The matrix's own part of a run; a cell is named `variant-provider`.

    Attributes:
        schema: of the file.
        baseline: that the ratios are relative to.
        outcomes: of the tests of cells.
        not_applicable: cells whose provider cannot run the variant's kind of file.
        settings: options of the matrix on which the figures depend, by name.
        code_sha256: of the modules that measured, committed or not.
        installed: versions of all packages of the environment.
        resumed: how many times the run was interrupted and went on.
        hashes: None in runs of earlier versions, as the four before it are empty there.
    """

    schema: Count
    baseline: str
    outcomes: tuple[Outcome, ...]
    not_applicable: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    code_sha256: str = ""
    installed: dict[str, str] = field(default_factory=dict)
    resumed: Natural = 0
    hashes: Hashes | None = None


@dataclass(frozen=True, kw_only=True)
class PlainContent:
    """A file that pytest-benchmark saved for any project."""

    benchmarks: tuple[PlainBenchmark, ...]
    datetime: str = ""
    machine_info: MachineInfo | None = None
    commit_info: CommitInfo | None = None


@dataclass(frozen=True, kw_only=True)
class Content(PlainContent):
    """A file that the matrix saved."""

    benchmarks: tuple[Benchmark, ...]
    ssept: About
