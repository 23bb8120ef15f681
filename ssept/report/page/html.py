"""The page: one HTML file with its style, scripts, plots and tables; it asks for nothing else."""

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from itertools import starmap
from pathlib import Path
from string import Template
from typing import Any

import vl_convert

from ssept.errors import SseptError
from ssept.report.page.charts import LOOK, description_of, spec_of
from ssept.report.page.content import Content, Dots, Figure, Part, Row, Section

STATIC = Path(__file__).parent / "static"
LARGEST_BYTES = 2_000_000
NO_CELL = "No selected cell is in this plot."
SHORT_PLOT = 8  # lines of a plot that may stand beside another


def page_of(content: Content, path: object) -> str:
    """Return the page.

    Args:
        content: of the report.
        path: of the file, for the messages.

    Raises:
        SseptError: the page would be too large.
    """
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = _static("page.js")
    page = Template(_static("page.html")).substitute(
        title=escape(content.title),
        script_hashes=" ".join(map(_hash, (bundle, script))),
        style=_static("page.css"),
        runs=_details(content.runs, content.runs.title),
        contents="".join(
            f'<li><a href="#{section.key}">{number} {escape(section.title)}</a></li>'
            for number, section in enumerate(content.sections, 1)
        ),
        filter=_filter(content),
        sections="".join(starmap(_section, enumerate(content.sections, 1))),
        look=_json(LOOK),
        bundle=bundle,
        script=script,
    )
    size = len(page.encode())
    if size > LARGEST_BYTES:
        raise SseptError(
            f"{path}: the page would have {size / 1e6:.1f} MB, at most {LARGEST_BYTES / 1e6:g}: "
            "name fewer runs, or choose --format=markdown, csv or json"
        )
    return page


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return what a content security policy names a script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """Write JSON for a script element, which its text must not end."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _section(number: int, section: Section) -> str:
    parts = "".join(_part(part) for part in section.parts)
    if not section.parts:
        parts = f'<p class="none">Not measured. To measure it: {_code(section.otherwise)}</p>'
    return (
        f'<section id="{section.key}" aria-labelledby="{section.key}-title">'
        f'<h2 id="{section.key}-title">{number} {escape(section.title)}</h2>'
        f'<p class="about">{_text(section.about)}</p>{parts}</section>\n'
    )


def _part(part: Part) -> str:
    heading = f"<h3>{escape(part.heading)}</h3>" if part.heading else ""
    kind = "answer" if part.answers else "said"
    sentences = "".join(f'<p class="{kind}">{_text(each)}</p>' for each in part.sentences)
    figures = "".join(_figure(figure) for figure in part.figures)
    plotted = [figure for figure in part.figures if figure.plot]
    small = " small" if plotted and all(map(_is_small, plotted)) else ""
    return f'{heading}{sentences}<div class="figures{small}">{figures}</div>'


def _is_small(figure: Figure) -> bool:
    return isinstance(figure.plot, Dots) and len(figure.rows) <= SHORT_PLOT


def _figure(figure: Figure) -> str:
    """Write a figure: its plot and the table folded below, or the table alone."""
    if figure.folded:
        return f'<div class="figure">{_details(figure, figure.title)}</div>'
    if not figure.plot:
        return f'<div class="figure">{_table(figure)}{_note(figure)}</div>'
    described = escape(description_of(figure.plot, figure.title), quote=True)
    return (
        f"<figure><figcaption>{escape(figure.title)}</figcaption>"
        f'<div role="img" aria-label="{described}">'
        '<div class="plot" aria-hidden="true"></div></div>'
        f'<p class="none" hidden>{NO_CELL}</p>'
        f'<script type="application/json">{_json(spec_of(figure.plot))}</script>'
        f"{_details(figure, 'The numbers as a table')}</figure>"
    )


def _details(figure: Figure, summary: str) -> str:
    """Fold a table; `summary` is what is shown of it, a screen reader says its title too."""
    more = (
        "" if summary == figure.title else f'<span class="unseen">: {escape(figure.title)}</span>'
    )
    again = (
        f'<p class="note">Measure it again: {_code(figure.command)}</p>' if figure.command else ""
    )
    return (
        f"<details><summary>{escape(summary)}{more}</summary>"
        f"{_table(figure)}{_note(figure)}{again}</details>"
    )


def _note(figure: Figure) -> str:
    return f'<p class="note">{_text(figure.note)}</p>' if figure.note else ""


def _table(figure: Figure) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in figure.columns)
    rows = "".join(_row(row, figure) for row in figure.rows)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(figure.title)}">'
        f"<table><caption>{escape(figure.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(row: Row, figure: Figure) -> str:
    names = {"variant": row.variant, "provider": row.provider}
    data = "".join(
        f' data-{kind}="{escape(name, quote=True)}"' for kind, name in names.items() if name
    )
    code = figure.columns.index("command") if "command" in figure.columns else None
    first, *others = (
        _code(cell) if place == code else escape(cell) for place, cell in enumerate(row.cells)
    )
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr{data}><th scope="row">{first}</th>{cells}</tr>'


def _filter(content: Content) -> str:
    """Write the filter of the cells; nothing where there is nothing to choose among."""
    choices = {
        "variant": dict.fromkeys(row.variant for row in _rows(content) if row.variant),
        "provider": dict.fromkeys(row.provider for row in _rows(content) if row.provider),
    }
    if all(len(names) < 2 for names in choices.values()):
        return ""
    fields = "".join(
        f"<fieldset><legend>{kind.capitalize()}s</legend>"
        + "".join(_box(kind, name) for name in names)
        + "</fieldset>"
        for kind, names in choices.items()
    )
    return (
        '<details id="choice" hidden><summary>Choose cells: <span id="shown" role="status">'
        f'</span></summary><form id="filter" aria-label="Cells to show">{fields}'
        '<p><button type="button" id="all">Show all</button></p></form></details>'
    )


def _box(kind: str, name: str) -> str:
    value = escape(name, quote=True)
    return f'<label><input type="checkbox" name="{kind}" value="{value}" checked>{value}</label>'


def _rows(content: Content) -> Iterator[Row]:
    for section in content.sections:
        for part in section.parts:
            for figure in part.figures:
                yield from figure.rows


def _text(text: str) -> str:
    """Write a text, what is between backticks as code."""
    pieces = text.split("`")
    return "".join(
        _code(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
