"""The saved run of one catalog, written whole after every cell."""

import platform
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.chip import Chip
from benchmarks.gpu.measured import Agreement, session_of
from benchmarks.gpu.networks import Catalog
from benchmarks.gpu.plan import BASELINE, GpuCell
from ssept.git import checkout_of
from ssept.results.files import write_run
from ssept.results.schema import SCHEMA

SHORT = 12  # of a commit's digits


class CatalogRun:
    """What was measured of a catalog, as a saved run of the matrix."""

    def __init__(
        self,
        folder: Path,
        number: int,
        catalog: Catalog,
        device: str,
        chip: Chip,
        *,
        saved: bool,
    ) -> None:
        """Begin a run.

        Args:
            folder: where its file is to lie.
            number: its name begins with.
            catalog, device, chip: of what it is.
            saved: whether it is written at all.
        """
        self._catalog, self._device, self._chip = catalog, device, chip
        self._saved = saved
        self._machine = _fingerprint() | chip.facts()
        self._benchmarks: list[dict[str, Any]] = []
        self._outcomes: list[dict[str, str]] = []
        self._started = datetime.now(timezone.utc)
        found = checkout_of(Path(__file__))
        self._commit = {"id": found.commit, "dirty": found.dirty} if found else {}
        commit = found.commit[:SHORT] if found else "unversioned"
        stamp = self._started.strftime("%Y%m%d_%H%M%S")
        self.path = folder / f"{number:04}_{commit}_{stamp}_{catalog.items}.json"

    def add(self, cell: GpuCell, test: str, facts: dict[str, Any], seconds: list[float]) -> None:
        """Add a measurement.

        Args:
            cell: of what.
            test: its name.
            facts: what is said of it.
            seconds: of the timed calls.
        """
        session = session_of(self._catalog, cell, self._device)
        artifact, model = session.artifact, self._catalog.model
        name = f"{test}[{cell.name(self._device)}]"
        own = {
            "variant": cell.variant,
            "provider": cell.provider(self._device),
            "threads": 1,
            "options": cell.options,
            "placement": session.placement(),
            "checkpoint": model.checkpoint,
            "checkpoint_sha256": model.checkpoint_sha256,
            "data_hash": model.data_hash,
            "artifact_sha256": artifact.sha256,
            "size_bytes": artifact.size_bytes,
        }
        q1, median, q3 = np.percentile(seconds, (25, 50, 75)).tolist()
        self._benchmarks.append(
            {
                "name": name,
                "fullname": f"benchmarks/gpu::{name}",
                "stats": {"median": median, "q1": q1, "q3": q3},
                "extra_info": own | facts,
            }
        )
        self.note(cell, test, "measured")

    def agreed(self, cell: GpuCell, found: Agreement, seconds: float) -> None:
        """Add how near a cell's answers are to the CPU's."""
        facts = {"measure": "agreement"} | asdict(found)
        self.add(cell, "test_agreement", facts, [seconds])

    def note(
        self, cell: GpuCell, test: str, outcome: str, reason: str = "", *, save: bool = True
    ) -> None:
        """Note how a test of a cell ended, and save the run."""
        self._outcomes.append(
            {"test": f"{test}[{cell.name(self._device)}]", "variant": cell.variant}
            | {"provider": cell.provider(self._device), "outcome": outcome, "reason": reason}
        )
        if save:
            self.flush()

    @property
    def measured(self) -> bool:
        """Whether there is a measurement."""
        return bool(self._benchmarks)

    def flush(self) -> None:
        """Write the file, if there is a measurement."""
        if self._saved and self.measured:
            write_run(self.path, self.content())

    def content(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        return {
            "machine_info": {
                "node": platform.node(),
                "machine": platform.machine(),
                "python_version": platform.python_version(),
                "ssept": self._machine,
            },
            "commit_info": self._commit,
            "datetime": self._started.isoformat(),
            "benchmarks": self._benchmarks,
            "ssept": {
                "schema": SCHEMA,
                "baseline": BASELINE.name(self._device),
                "outcomes": self._outcomes,
                "not_applicable": [],
            },
        }


def _fingerprint() -> dict[str, Any]:
    """Return what is known of machine and software; without psutil little of it."""
    try:
        from ssept.measure.machine import fingerprint
    except ImportError:
        return {"system": platform.platform(), "python": platform.python_version()}
    return fingerprint()
