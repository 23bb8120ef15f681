"""All cells of a plan, one after the other, until the time is over."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.chip import Chip, measure_chip, synchronize
from benchmarks.gpu.measured import Agreement, agreement, measure
from benchmarks.gpu.networks import SIZES, Catalog, at_random, shipped
from benchmarks.gpu.plan import BASELINE, GpuCell, Plan, plan
from benchmarks.gpu.saved import CatalogRun
from ssept.errors import SseptError, one_line
from ssept.providers import nvidia
from ssept.results.cells import MatrixRun
from ssept.results.files import run_of

LONGEST = 200  # characters of why a cell failed
MOST_CELL_S = 3.0
BYTES_PER_SCORE = 16  # of the scores, their copy for the top k, its places
DRY_CELL_S = 0.5


def no_gpu() -> str | None:
    """Why no GPU can be measured here, or None."""
    if reason := nvidia.no_gpu():
        return reason
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use the GPU: install a CUDA build of torch"
    return None


def run(out: Path | None, seconds: float, *, dry_run: bool) -> int:
    """Measure what the plan has; return the exit code.

    Args:
        out: the folder of the saved runs; None saves none.
        seconds: for all of it.
        dry_run: whether on the CPU, with few cells.

    Raises:
        SseptError: a run cannot be saved.
    """
    started = time.monotonic()
    chosen = plan(dry_run)
    for name, reason in chosen.left_out.items():
        print(f"left out: {name}: {reason}")
    chip = measure_chip(chosen.device)
    rates = ", ".join(f"{name} {each / 1e12:,.2f}" for name, each in chip.operations_per_s.items())
    print(f"{chip.name}: copies {chip.bytes_per_s / 1e9:,.0f} GB/s; TFLOP/s: {rates}")
    measuring = Measuring(chosen, chip, out, lambda: seconds - (time.monotonic() - started))
    return measuring.all()


class Measuring:
    """The cells of a plan, and the saved run of each catalog."""

    def __init__(
        self, chosen: Plan, chip: Chip, out: Path | None, left_s: Callable[[], float]
    ) -> None:
        self._plan, self._chip, self._left_s = chosen, chip, left_s
        self._out = out or Path()
        self._save = out is not None
        self._catalogs: dict[int, Catalog] = {}
        self._runs: dict[int, CatalogRun] = {}
        self._failed: set[tuple[int, GpuCell]] = set()

    def all(self) -> int:
        """Measure until the time is over; return the exit code."""
        steps = list(self._plan.steps())
        if self._save:
            self._out.mkdir(parents=True, exist_ok=True)
        for number, (batch, items, cell) in enumerate(steps):
            left = self._left_s()
            if left <= 0:
                print(f"the time is over: {len(steps) - number} of {len(steps)} cells not measured")
                for late, of, what in steps[number:]:
                    self._run(of).note(what, f"latency_b{late}", "skipped", "the time was over")
                break
            limit = DRY_CELL_S if self._plan.device == "cpu" else MOST_CELL_S
            self._step(batch, items, cell, min(limit, left / (len(steps) - number)), left)
        self._finish()
        return 1 if self._failed else 0

    def _step(self, batch: int, items: int, cell: GpuCell, seconds: float, left: float) -> None:
        run, catalog = self._run(items), self._catalogs[items]
        name = f"{items:,} items, batch {batch}, {cell.name(self._plan.device)}"
        test = f"latency_b{batch}"
        if (items, cell) in self._failed:
            run.note(cell, test, "skipped", "its answers were wrong")
            return
        try:
            self._check_memory(items, batch)
            if batch == self._plan.batches[0]:
                self._agree(catalog, run, cell)
            if cell.way.kernel and self._plan.device == "cpu":
                run.note(cell, test, "skipped", "Triton's interpreter: checked, not timed")
                return
            facts = measure(catalog, cell, batch, self._plan.device, self._chip, seconds)
        except (SseptError, RuntimeError, MemoryError) as error:
            reason = one_line(str(error), LONGEST)
            print(f"{name}: failed: {reason}", flush=True)
            run.note(cell, test, "failed", reason)
            self._failed.add((items, cell))
            self._tidy()
            return
        run.add(cell, test, facts, facts.pop("seconds"))
        print(f"{name}: {_said(facts)}; {left / 60:.1f} minutes left", flush=True)

    def _agree(self, catalog: Catalog, run: CatalogRun, cell: GpuCell) -> None:
        start = time.perf_counter()
        found: Agreement = agreement(catalog, cell, self._plan.device)
        run.agreed(cell, found, time.perf_counter() - start)

    def _run(self, items: int) -> CatalogRun:
        """Return a catalog's run; the catalog is made when it is first asked for."""
        if items not in self._runs:
            catalog = shipped() if items == SIZES.items else at_random(items)
            if catalog.why_random:
                print(f"{items:,} items: random weights: {catalog.why_random}")
            self._catalogs[items] = catalog
            number = 1 + len(self._runs)
            self._runs[items] = CatalogRun(
                self._out, number, catalog, self._plan.device, self._chip, saved=self._save
            )
        return self._runs[items]

    def _check_memory(self, items: int, batch: int) -> None:
        if self._plan.device == "cpu":
            return
        free, _ = torch.cuda.mem_get_info()
        needed = BYTES_PER_SCORE * items * batch
        if needed > free:
            raise SseptError(
                f"about {needed / 1e9:,.0f} GB of GPU memory are needed, and {free / 1e9:,.0f} free"
            )

    def _tidy(self) -> None:
        if self._plan.device != "cpu":
            synchronize(self._plan.device)
            torch.cuda.empty_cache()

    def _finish(self) -> None:
        tables = importlib.util.find_spec("tabulate") is not None
        for items, run in self._runs.items():
            if tables and run.measured:
                from ssept.report.table import matrix_report

                read = run_of(run.path, run.content())
                assert isinstance(read, MatrixRun)
                print(f"\n{items:,} items, beside {BASELINE.name(self._plan.device)}\n")
                print(matrix_report(read))
            if self._save and run.measured:
                print(f"saved: {run.path}")


def _said(facts: dict[str, Any]) -> str:
    """Describe a measurement in a line."""
    p50, speedup = facts["p50_ms"]["value"], facts["speedup"]
    parts = [f"{p50:.3g} ms", f"{p50 / facts['least_ms']:.1f} times the least possible"]
    if speedup:
        ends = f"[{speedup['low']:.2f}, {speedup['high']:.2f}]"
        parts.insert(1, f"{speedup['value']:.2f} {ends} times the baseline's speed")
    if energy := facts.get("gpu", {}).get("joules_per_thousand"):
        parts.append(f"{energy:.3g} J a thousand")
    return ", ".join(parts)
