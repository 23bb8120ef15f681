"""All cells of a plan, one after the other, until the time is over."""

import gc
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.chip import Chip, measure_chip, synchronize
from benchmarks.gpu.measured import agreement, energy, measure
from benchmarks.gpu.networks import SIZES, Catalog, at_random, shipped
from benchmarks.gpu.plan import BASELINE, GpuCell, Plan, plan
from benchmarks.gpu.saved import CatalogRun
from ssept.errors import SseptError, one_line
from ssept.providers import nvidia
from ssept.results.cells import MatrixRun
from ssept.results.files import run_of

LONGEST = 200  # characters of why a cell failed
MOST_CELL_S = 3.0
LEAST_CELL_S, DRY_CELL_S = 0.05, 0.5
BYTES_PER_SCORE = 8  # of the scores, and what torch's top k needs beside them


def no_gpu() -> str | None:
    """Why no GPU can be measured here, or None."""
    if reason := nvidia.no_gpu():
        return reason
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use the GPU: install a CUDA build of torch"
    return None


def run(out: Path | None, seconds: float, started: float, *, dry_run: bool) -> int:
    """Measure what the plan has; return the exit code.

    Args:
        out: the folder of the saved runs; None saves none.
        seconds: for all of it,
        started: which began then, by the monotonic clock.
        dry_run: whether on the CPU, with few cells.

    Raises:
        SseptError: a run cannot be saved.
    """
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
        self._compared: dict[tuple[int, GpuCell], str] = {}  # why answers are wrong, or ""
        self._failed = False
        self._lost = ""  # why the GPU cannot be used any more
        self._more_s = 0.0  # that a cell takes beyond what is timed, on average

    def all(self) -> int:
        """Measure until the time is over; return the exit code."""
        steps = list(self._plan.steps())
        if self._save:
            self._out.mkdir(parents=True, exist_ok=True)
        gc.freeze()  # what is loaded by now is not looked at again before each timed loop
        try:
            for number, step in enumerate(steps):
                left = self._left_s()
                why = self._lost or ("the time limit was reached" if left <= 0 else "")
                if why:
                    print(f"{why}: {len(steps) - number} of {len(steps)} cells are not measured")
                    self._leave_out(steps[number:], why)
                    break
                limit = DRY_CELL_S if self._plan.device == "cpu" else MOST_CELL_S
                seconds = max(LEAST_CELL_S, left / (len(steps) - number) - self._more_s)
                self._step(*step, min(limit, seconds), left)
                more_s = left - self._left_s() - min(limit, seconds)
                self._more_s += (more_s - self._more_s) / (number + 1)
        finally:
            self._finish()
        return 1 if self._failed else 0

    def _leave_out(self, steps: list[tuple[int, int, GpuCell]], why: str) -> None:
        for batch, items, cell in steps:
            self._run(items).note(cell, f"latency_b{batch}", "skipped", why, save=False)
        for run in self._runs.values():
            run.flush()

    def _step(self, batch: int, items: int, cell: GpuCell, seconds: float, left: float) -> None:
        run, test = self._run(items), f"latency_b{batch}"
        name = f"{items:,} items, batch {batch}, {cell.name(self._plan.device)}"
        reason = ""
        try:
            reason = self._measure(
                batch, items, cell, seconds, f"{name}: {{}}; {left / 60:.1f} minutes left"
            )
        except Exception as error:  # noqa: BLE001 - a compiler of kernels raises what it likes
            text = str(error).strip()
            reason = f"{type(error).__name__}: {one_line(text[-LONGEST:], LONGEST)}"
        if reason:  # after the error is gone, which held its tensors
            print(f"{name}: failed: {reason}", flush=True)
            run.note(cell, test, "failed", reason)
            self._failed = True
            self._tidy()

    def _measure(self, batch: int, items: int, cell: GpuCell, seconds: float, line: str) -> str:
        """Compare, time and save a cell; why its answers are wrong, or ""."""
        run, catalog, test = self._runs[items], self._catalogs[items], f"latency_b{batch}"
        self._check_memory(items, batch, cell)
        if (items, cell) not in self._compared:
            start = time.perf_counter()
            found, why = agreement(catalog, cell, self._plan.device)
            run.agreed(cell, found, time.perf_counter() - start)
            self._compared[items, cell] = why
        if why := self._compared[items, cell]:
            return why
        if cell.way.kernel and self._plan.device == "cpu":
            run.note(cell, test, "skipped", "Triton's interpreter: checked, not timed")
            return ""
        facts = measure(catalog, cell, batch, self._plan.device, self._chip, seconds)
        run.add(cell, test, facts, facts.pop("seconds"))
        print(line.format(_said(facts)), flush=True)
        if self._plan.counts_energy(batch, items, cell):
            used = energy(catalog, cell, batch, self._plan.device)
            if used:
                run.add(cell, f"energy_b{batch}", used, used.pop("seconds"))
        return ""

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

    def _check_memory(self, items: int, batch: int, cell: GpuCell) -> None:
        """Refuse what has no room: the scores, if not of the cell then of the baseline."""
        if self._plan.device == "cpu":
            return
        free, _ = torch.cuda.mem_get_info()
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        needed = BYTES_PER_SCORE * items * batch * (2 if cell.graphs else 1)
        if needed > free:
            raise SseptError(
                f"about {needed / 1e9:,.0f} GB of GPU memory are needed, and {free / 1e9:,.0f} free"
            )

    def _tidy(self) -> None:
        """Make the GPU usable again after an error, or note that it is not."""
        if self._plan.device == "cpu":
            return
        try:
            torch.cuda.set_stream(torch.cuda.default_stream())
            synchronize(self._plan.device)
            torch.cuda.empty_cache()
            torch.zeros(1, device=self._plan.device).item()
        except RuntimeError as error:
            self._lost = f"the GPU cannot be used any more: {one_line(str(error), LONGEST)}"

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
    return ", ".join(parts)
