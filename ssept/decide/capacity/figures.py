"""The largest rates of servers that saved runs hold."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ssept.errors import SseptError, shortened
from ssept.results.cells import SHORT, MatrixRun
from ssept.results.machines import cpus, machine
from ssept.results.schema import RequestFigures, ServedRequests

COMMAND = "tox -e fastapi -- -k largest_rate"
LONGEST_LIST = 200  # characters of what was found instead, in an error


@dataclass(frozen=True, kw_only=True)
class LargestRate:
    """A largest rate of a server, as a run found it.

    Attributes:
        run: the name of its file.
        machine: that it was measured on, see `ssept.results.machines`.
        variant: that was served.
        server: the server in words.
        artifact: the hash of the model file.
        workers: processes of the server.
        cpus: CPUs that the server and its client had together; None if the run does not say.
        rate: requests a second.
        limit_ms: of their 99th percentile.
        server_s, client_s: CPU seconds of a request, of the server and of the client; None if the
            run does not say.
    """

    run: str
    machine: dict[str, str]
    variant: str
    server: str
    artifact: str
    workers: int
    cpus: float | None
    rate: float
    limit_ms: float
    server_s: float | None
    client_s: float | None


def largest_rates(
    runs: Sequence[MatrixRun], limit_ms: float, variant: str | None = None
) -> list[LargestRate]:
    """Return the largest rates of one server on one machine within a limit.

    Args:
        runs: saved runs.
        limit_ms: of the 99th percentile.
        variant: that is served; None where the runs hold one alone.

    Raises:
        SseptError: there is none, or there are several servers or machines; with what to do.
    """
    found = [each for run in runs for each in _in(run)]
    where = _listed(run.path.name for run in runs)
    if not found:
        raise SseptError(f"{where}: contains no largest rate of a server: measure with `{COMMAND}`")
    served = [each for each in found if variant in (None, each.variant)]
    if not served:
        raise SseptError(
            f"{where}: contains no largest rate of {variant}, only of "
            f"{_listed(e.variant for e in found)}"
        )
    rates = [each for each in served if each.limit_ms == limit_ms]
    if not rates:
        raise SseptError(
            f"{where}: contains no largest rate within a p99 of {limit_ms:g} ms, only within "
            f"{_listed(f'{each.limit_ms:g} ms' for each in served)}: measure with "
            f"`{COMMAND} --p99-ms={limit_ms:g}`"
        )
    _check_one(rates, lambda each: (each.server, each.artifact), f"{where}: several servers")
    _check_one(rates, lambda each: frozenset(each.machine.items()), f"{where}: several machines")
    return rates


def _in(run: MatrixRun) -> Iterator[LargestRate]:
    for facts in run.facts:
        if not isinstance(facts, ServedRequests) or not (facts.largest_rate and facts.limit_ms):
            continue
        yield LargestRate(
            run=run.path.name,
            machine=machine(run),
            variant=facts.variant,
            server=f"{facts.served} with {facts.variant}",
            artifact=facts.artifact_sha256,
            workers=_workers(run, facts),
            cpus=cpus(run),
            rate=facts.largest_rate,
            limit_ms=facts.limit_ms,
            server_s=_per_request(facts.result, facts.result.server_cpu),
            client_s=_per_request(facts.result, facts.result.client_cpu),
        )


def _per_request(figures: RequestFigures, cores: float | None) -> float | None:
    """Return the CPU seconds of a request, from the cores that were in use."""
    return (cores / figures.rate or None) if cores and figures.rate else None


def _workers(run: MatrixRun, facts: ServedRequests) -> int:
    workers = facts.options.get("workers")
    if not isinstance(workers, int) or workers < 1:
        raise SseptError(
            f"{run.path.name}: options.workers of a largest rate is {shortened(repr(workers))}; "
            f"expected the number of workers of the server: measure with `{COMMAND}`"
        )
    return workers


def _check_one(
    rates: Sequence[LargestRate], kind: Callable[[LargestRate], Hashable], problem: str
) -> None:
    first = {kind(each): each for each in reversed(rates)}
    if len(first) > 1:
        names = _listed(
            f"{each.server} {each.artifact[:SHORT]} in {each.run}" for each in first.values()
        )
        raise SseptError(f"{problem} ({names}): give runs of one of them, or --variant")


def _listed(names: Iterable[str]) -> str:
    return shortened(", ".join(dict.fromkeys(names)), LONGEST_LIST)
