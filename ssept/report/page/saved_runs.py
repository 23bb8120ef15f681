"""Saved runs in Python, as the notebooks use them: their numbers as a table, and their plots."""

from pathlib import Path
from typing import Any

import pandas as pd

from ssept.decide.choose import Promises
from ssept.decide.choose.candidates import DEFAULT_LOSS
from ssept.errors import SseptError, shortened
from ssept.report.page.build import content_of
from ssept.report.page.material import Material, labelled
from ssept.report.page.measures import COLUMNS, measures_of
from ssept.results.files import read_matrix_runs, run_files


class SavedRuns:
    """Saved runs of the matrix, one or several."""

    def __init__(self, path: str | Path, *others: str | Path) -> None:
        """Read results files; a folder means all runs in it, by their numbers.

        Raises:
            RunError: a file cannot be read, or there is no run in a folder.
        """
        self._material = Material(
            runs=labelled(read_matrix_runs(map(Path, (path, *others)))),
            promises=Promises(max_accuracy_loss=DEFAULT_LOSS),  # as `ssept report`
        )

    @classmethod
    def newest(cls, folder: str | Path) -> "SavedRuns":
        """Read the run in a folder that was written last.

        Raises:
            RunError: there is none.
        """
        return cls(max(run_files([Path(folder)]), key=_written))

    def numbers(self) -> pd.DataFrame:
        """Return every measured number: the rows and columns of `ssept report --format=csv`."""
        return pd.DataFrame(measures_of(self._material), columns=[*COLUMNS])

    def plots(self, section: str) -> list[Any]:
        """Return the plots of a section of the report as charts of Altair.

        Args:
            section: its name in addresses of the page, as "latency".

        Raises:
            SseptError: there is no such section, or the report extra is missing.
        """
        try:
            from ssept.report.page.charts.still import still
        except ImportError as error:
            raise SseptError(f"plots need {error.name}: install the report extra") from error
        sections = {each.key: each for each in content_of(self._material).sections}
        if section not in sections:
            raise SseptError(f"section {shortened(section)}: expected one of {', '.join(sections)}")
        figures = [figure for part in sections[section].parts for figure in part.figures]
        return [still(figure.plot, figure.title) for figure in figures if figure.plot]


def _written(file: Path) -> int:
    """Return when a file was written; what is not there is refused when it is read."""
    return file.stat().st_mtime_ns if file.exists() else 0
