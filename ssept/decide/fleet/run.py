"""The run of a fleet: a task for each kind of host, and its saved run kept as it grows."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

from ssept.decide.fleet.cluster import connected, said
from ssept.decide.fleet.hosts import HostKind
from ssept.decide.fleet.on_host import Update, measured
from ssept.errors import RunError, SseptError
from ssept.files import save_text, written_file
from ssept.git import checkout_of
from ssept.results.files import read_matrix_run, run_of
from ssept.results.provenance import COMMIT_VARIABLE, matrix_code_sha256

FILE, LOG = "0001_run.json", "log.txt"
# Of the clone, what no matrix needs.
LEFT_OUT = [
    *("/.git", "/.tox", "/.venv", "/results", "/artifacts", "/data", "/docs", "/notebooks"),
    *("/build", "/dist", "**/__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
]
ATTEMPTS = 5  # of one kind: nodes may be lost
RETRY_SECONDS = 10.0  # for half a minute Ray gives tasks to a node that is dead
REFUSED = 4  # exit code of pytest
CANNOT_GO_ON = "measure again without --resume"
POLL_SECONDS = 1.0


@dataclass(kw_only=True)
class HostResult:
    """What became of a kind of host.

    Attributes:
        kind: its name.
        file: its saved run; None while nothing was measured.
        done, tests: how many tests were measured, and how many there are; 0 while not known.
        code: the exit code of its matrix; None if that did not end.
        log: what its matrix printed; None if that did not end.
        lost: how many times a node was lost, or the run there ended before its end.
        fault: why it was given up; empty otherwise.
    """

    kind: str
    file: Path | None = None
    done: int = 0
    tests: int = 0
    code: int | None = None
    log: Path | None = None
    lost: int = 0
    fault: str = ""


Show = Callable[[Sequence[HostResult]], None]


def run_fleet(
    hosts: Sequence[HostKind],
    *,
    options: Sequence[str],
    clone: Path,
    out: Path,
    address: str,
    patience_s: float,
    show: Show,
) -> list[HostResult]:
    """Run the matrix on each kind of host, all kinds at the same time, one matrix on a host.

    A node that is lost is made up for by another of its kind, on which the run goes on. What is
    measured is in a folder of `out` for each kind, at once; where a file is there already, its run
    goes on.

    Args:
        hosts: the kinds.
        options: of all matrices.
        clone: of the repository, which is sent to the hosts.
        out: for the results.
        address: of the cluster, as of `ray.init`.
        patience_s: how long a kind may be without a node.
        show: is given the state of all kinds, now and then.

    Raises:
        SseptError: Ray is missing, there is no cluster, or a file of `out` is no saved run.
    """
    results = [_before(kind, out) for kind in hosts]
    code = matrix_code_sha256(clone)
    sent = {"working_dir": str(clone), "excludes": LEFT_OUT}
    with connected(address, sent) as ray, ThreadPoolExecutor(len(hosts)) as pool:
        stop = Event()
        each = _EachHost(
            ray=ray,
            options=options,
            variables=_variables(clone),
            code=code,
            patience_s=patience_s,
            stop=stop,
        )
        futures = [
            pool.submit(each.measure, kind, result, out / kind.name)
            for kind, result in zip(hosts, results, strict=True)
        ]
        try:
            while not all(future.done() for future in futures):
                show(results)
                time.sleep(POLL_SECONDS)
        finally:
            stop.set()
        for future in futures:
            future.result()
    show(results)
    return results


@dataclass(frozen=True, kw_only=True)
class _EachHost:
    """Measures one kind of host after another call, in a thread of its own."""

    ray: Any
    options: Sequence[str]
    variables: Mapping[str, str]
    code: str
    patience_s: float
    stop: Event

    def measure(self, kind: HostKind, result: HostResult, folder: Path) -> None:
        """Measure on nodes of a kind, one after another, until one has finished its matrix."""
        while result.code is None and not result.fault:
            earlier = (folder / FILE).read_bytes() if result.file else None
            try:
                self._once(kind, result, folder, earlier)
            except SseptError as error:
                result.fault = str(error)
            except self.ray.exceptions.RayError as error:
                result.lost += 1
                if result.lost >= ATTEMPTS:
                    result.fault = f"{result.lost} runs were lost, the last: {said(error)}"
                else:
                    self.stop.wait(RETRY_SECONDS)
            if self.stop.is_set():
                return

    def _once(
        self, kind: HostKind, result: HostResult, folder: Path, earlier: bytes | None
    ) -> None:
        task = self.ray.remote(measured).options(
            num_cpus=0,  # a kind of its own keeps others off
            resources={kind.name: 1},
            max_retries=0,
            num_returns="streaming",
            runtime_env=kind.runtime_env,  # beside that of the job
        )
        running = task.remote(
            [*self.options, *kind.options],
            host=kind.name,
            python=kind.python,
            cpus=kind.cpus,
            earlier=earlier,
            variables=dict(self.variables),
        )
        try:
            for update in self._updates(running, kind):
                self._take(update, result, folder, resumed=earlier is not None)
        finally:
            self.ray.cancel(running, force=True)

    def _updates(self, running: Any, kind: HostKind) -> Iterator[Update]:
        """Yield the updates of a task; give up where its kind has had no node for too long."""
        alone_since = time.monotonic()
        while not self.stop.is_set():
            ready, _ = self.ray.wait([running], timeout=POLL_SECONDS, fetch_local=False)
            if self.ray.cluster_resources().get(kind.name, 0) >= 1:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > self.patience_s:
                raise SseptError(
                    f"no node with the resource {kind.name} in {self.patience_s:g} s: start one "
                    f"with `ray start --resources='{{\"{kind.name}\": 1}}'`, and run this again"
                )
            if ready:
                try:
                    yield self.ray.get(next(running))
                except StopIteration:
                    return

    def _take(self, update: Update, result: HostResult, folder: Path, *, resumed: bool) -> None:
        before = result.done
        if update.file:
            _keep(update.file, folder / FILE, self.code)
            result.file, result.done = folder / FILE, _measurements(update.file)
        if update.tests is not None:
            result.tests = (before if resumed else 0) + update.tests
        if update.code is None:
            return
        save_text(folder / LOG, update.log)
        if update.code == REFUSED and resumed and CANNOT_GO_ON in " ".join(update.log.split()):
            # Another host of this kind, where the figures would not belong together.
            (folder / FILE).rename(folder / f"other_{time.time_ns()}.json")
            result.file, result.done, result.lost = None, 0, result.lost + 1
        else:
            result.code, result.log = update.code, folder / LOG


def _before(kind: HostKind, out: Path) -> HostResult:
    """Return what an earlier run of the fleet has measured on a kind of host."""
    path = out / kind.name / FILE
    if not path.is_file():
        return HostResult(kind=kind.name)
    return HostResult(kind=kind.name, file=path, done=len(read_matrix_run(path).benchmarks))


def _keep(file: bytes, path: Path, code: str) -> None:
    """Write a run's file, whole or not at all, as the host has it."""
    content = json.loads(file)
    run_of(path, content)
    if content["ssept"].get("code_sha256") != code:
        raise RunError(f"{path}: was measured with other code than this clone's")
    with written_file(path) as temporary:
        temporary.write_bytes(file)


def _measurements(file: bytes) -> int:
    return len(json.loads(file)["benchmarks"])


def _variables(clone: Path) -> dict[str, str]:
    """Say which commit it is: the hosts get the clone without its repository."""
    found = checkout_of(clone)
    return {COMMIT_VARIABLE: json.dumps(asdict(found))} if found else {}
