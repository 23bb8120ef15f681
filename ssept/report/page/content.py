"""What a report says, before it has a form: sections of figures, each a table and perhaps a plot.

All forms are written from these records; they hold text for tables and numbers for plots.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A measured value of a cell, as a plot draws it.

    Attributes:
        variant, provider: what the filter of the page selects by.
        label: of the line that the mark is on; a line break is written as "|".
        series: what distinguishes the marks of one line.
        value: that was measured.
        low, high: its interval; None without one.
        box: the quartiles around it; None where they are not known.
    """

    variant: str
    provider: str
    label: str
    series: str
    value: float
    low: float | None = None
    high: float | None = None
    box: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Dots:
    """A line for each cell, with a mark for each value.

    Attributes:
        marks: the values; lines are in the order of their first mark.
        axis: the title of the axis.
        log: whether the axis is logarithmic; then all values and ends are above 0.
        reference: where a line crosses all others; None for nowhere.
        from_zero: whether values are bars.
        beside: whether the series of a cell have lines of their own, side by side.
    """

    marks: Sequence[Mark]
    axis: str
    log: bool = False
    reference: float | None = None
    from_zero: bool = False
    beside: bool = False


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A cell between two aims.

    Attributes:
        variant, provider, name: of the cell.
        x, y: value, and both ends of the interval.
        broken: whether it breaks a promise.
        best: whether no other that keeps the promises is better in both.
    """

    variant: str
    provider: str
    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    broken: bool
    best: bool


@dataclass(frozen=True, kw_only=True)
class Front:
    """Cells between two aims, and the front of the best; more is better on both axes."""

    spots: Sequence[Spot]
    x_axis: str
    y_axis: str


@dataclass(frozen=True, kw_only=True)
class Station:
    """A point of a curve; `series` is the curve's name, `bound` whether it is a lower bound."""

    variant: str
    provider: str
    series: str
    x: float
    y: float
    bound: bool = False


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves on logarithmic axes; `steps`: that to the right counts, and is not logarithmic."""

    stations: Sequence[Station]
    x_axis: str
    y_axis: str
    steps: bool = False


Plot = Dots | Front | Curves


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table; `variant` and `provider` say by what the filter of the page selects it."""

    cells: tuple[str, ...]
    variant: str = ""
    provider: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A table, and the same numbers as a plot.

    Attributes:
        title: also the table's caption.
        columns: titles of the columns; the first column names the row.
        rows: the table.
        plot: None where the table says enough.
        folded: whether a table without a plot is opened only when somebody asks for it.
        note: how to read it.
        command: that measures it again.
        method: a key of METHODS; empty for what is no measurement.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    plot: Plot | None = None
    folded: bool = False
    note: str = ""
    command: str = ""
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a section says of one run; `heading` is empty where there is no other.

    `answers`: whether the sentences are the answer to the question of the report.
    """

    heading: str = ""
    sentences: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    answers: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report.

    Attributes:
        key: its name in addresses.
        title: the heading.
        about: how to read it.
        parts: what was found; without any, there was nothing measured.
        otherwise: what to run where nothing was measured.
    """

    key: str
    title: str
    about: str = ""
    parts: Sequence[Part] = field(default_factory=tuple)
    otherwise: str = ""


@dataclass(frozen=True, kw_only=True)
class Content:
    """The whole report; `runs` describes the files that it is made of."""

    title: str
    runs: Figure
    sections: Sequence[Section]
