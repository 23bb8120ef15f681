"""Budgets: how much worse a cell may get, by default and by a file of patterns."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssept.decide.gate.findings import Measure
from ssept.errors import GateError
from ssept.files.toml import read_toml
from ssept.percent import EXPECTED, share

DEFAULTS = {Measure.LATENCY: 0.03, Measure.NDCG: 0.005, Measure.SIZE: 0.01}


@dataclass(frozen=True)
class Budgets:
    """The tolerances of a suite.

    Attributes:
        defaults: by measure.
        patterns: tolerances by measure of the cells that a shell pattern matches; a later pattern
            wins over an earlier one.
    """

    defaults: Mapping[Measure, float] = field(default_factory=lambda: dict(DEFAULTS))
    patterns: Mapping[str, Mapping[Measure, float]] = field(default_factory=dict)

    def tolerance(self, measure: Measure, name: str) -> float:
        """Return the share that a cell may get worse by.

        Args:
            measure: what is compared.
            name: the cell's id, `onnx-cpu-b001`; of accuracy and size `onnx-cpu`.
        """
        matching = [own for text, own in self.patterns.items() if fnmatch.fnmatchcase(name, text)]
        return {k: v for own in (self.defaults, *matching) for k, v in own.items()}[measure]


def read_budgets(path: Path, defaults: Mapping[Measure, float]) -> Budgets:
    """Read the budgets of a TOML file: a table for each pattern, a field for each measure.

        ["onnx-cpu-*"]
        latency = "5%"

    Raises:
        SseptError: the file cannot be read, or a table or a field is not as above.
    """
    tables = read_toml(path)
    return Budgets(defaults, {name: _table(path, name, fields) for name, fields in tables.items()})


def _table(path: Path, pattern: str, fields: Any) -> dict[Measure, float]:
    measures = ", ".join(measure.value for measure in Measure)
    if not isinstance(fields, dict):
        raise GateError(f'{path}: {pattern}: expected a table ["{pattern}"] with {measures}')
    tolerances = {}
    for name, value in fields.items():
        where = f'{path}: ["{pattern}"] {name}'
        try:
            measure = Measure(name)
        except ValueError as error:
            raise GateError(f"{where}: unknown measure; expected one of {measures}") from error
        try:
            tolerances[measure] = share(value)
        except ValueError as error:
            raise GateError(f"{where} = {value!r}: expected {EXPECTED}") from error
    return tolerances
