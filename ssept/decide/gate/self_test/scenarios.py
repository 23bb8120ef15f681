"""Conditions of a self-test: identical and slowed code, with and without noise."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from ssept.decide.gate.cells import GateCell
from ssept.decide.gate.plan import GatePlan

TOLERANCE = 0.03
BATCH_SIZES = (1, 8, 64)


class Counts(str, Enum):
    """What a condition's rate counts."""

    FALSE_ALARMS = "false alarms, suites"
    FINE = "fine, cells"
    FOUND = "found, cells"


@dataclass(frozen=True)
class Condition:
    """A condition under which suites are measured.

    Attributes:
        counts: what is counted: false alarms per suite, or a verdict per cell.
        seconds: of the plan, for each cell.
        suites: how many are wanted.
        hogs: processes beside it that burn a CPU each in random bursts.
        extra_work: of the head in every cell, as a share of a call's time.
    """

    counts: Counts
    seconds: float
    suites: int
    hogs: int = 0
    extra_work: float = 0.0

    def plan(self) -> GatePlan:
        """Return the plan of the gate."""
        return GatePlan(seconds=self.seconds)

    def settings(self, cells: Sequence[GateCell], checkpoint: str) -> dict[str, Any]:
        """Return what suites must share to be counted together, as plain JSON values.

        Args:
            cells: of each suite.
            checkpoint: its SHA-256.
        """
        return {
            "plan": asdict(self.plan()),
            "tolerance": TOLERANCE,
            "counts": self.counts.value,
            "hogs": self.hogs,
            "extra_work": self.extra_work,
            "cells": [cell.id for cell in cells],
            "checkpoint": checkpoint,
        }


# By name, in the order in which they are run.
CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "aa_quiet": Condition(Counts.FALSE_ALARMS, 5, 150),
        "aa_noisy": Condition(Counts.FALSE_ALARMS, 5, 75, hogs=2),
        "fine_quiet": Condition(Counts.FINE, 60, 20),
        "slow10_quiet": Condition(Counts.FOUND, 60, 7, extra_work=0.10),
        "slow10_noisy": Condition(Counts.FOUND, 60, 7, hogs=2, extra_work=0.10),
        "slow5_quiet": Condition(Counts.FOUND, 60, 7, extra_work=0.05),
    }
)
