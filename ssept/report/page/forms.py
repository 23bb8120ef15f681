"""The forms of a report, and the files that hold them."""

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from ssept.decide.choose import Recommendation
from ssept.errors import SseptError
from ssept.files import save_text
from ssept.report.choose import choice_json
from ssept.report.page.build import content_of
from ssept.report.page.content import Content
from ssept.report.page.markdown import markdown_of
from ssept.report.page.material import Material
from ssept.report.page.measures import COLUMNS, csv_of, measures_of
from ssept.report.page.sections.recommendation import found_in

SCHEMA = 1


class Form(str, Enum):
    """In what form a report is written."""

    HTML = "html"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


SUFFIXES = {
    ".html": Form.HTML,
    ".htm": Form.HTML,
    ".md": Form.MARKDOWN,
    ".markdown": Form.MARKDOWN,
    ".csv": Form.CSV,
    ".json": Form.JSON,
}
# How a report of each form begins: only files that begin so are replaced.
MARKS = (
    "<!doctype html>\n<!-- ssept report -->\n",
    "<!-- ssept report -->\n",
    ",".join(COLUMNS) + "\n",
    '{\n  "ssept_report": ',
)


def text_of(material: Material, form: Form, path: object = "report") -> str:
    """Return a report in a form.

    Args:
        material: that it is made of.
        form: of the text.
        path: of the file that is written, for messages.

    Raises:
        SseptError: a page needs a package that is missing, or would be too large.
    """
    if form is Form.CSV:
        return csv_of(material)
    if form is Form.JSON:
        return json.dumps(_json(material), indent=2, allow_nan=False) + "\n"
    content = content_of(material)
    if form is Form.MARKDOWN:
        return f"{MARKS[1]}\n{markdown_of(content)}"
    return _page(content, path)


def _page(content: Content, path: object) -> str:
    try:
        from ssept.report.page.html import page_of
    except ImportError as error:
        raise SseptError(
            f"{path}: a page with plots needs {error.name}: install the report extra, or choose "
            "--format=markdown, csv or json"
        ) from error
    return page_of(content, path)


def form_of(path: Path) -> Form:
    """Return the form that a file's name asks for.

    Raises:
        SseptError: it asks for none.
    """
    if form := SUFFIXES.get(path.suffix.lower()):
        return form
    raise SseptError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}, or --format")


def check_replaceable(path: Path) -> None:
    """Refuse to write over a file that is no report.

    Raises:
        SseptError: there is such a file.
    """
    if not path.is_file():  # a folder or a device is refused when it is written
        return
    longest = max(map(len, MARKS))
    with path.open("rb") as file:
        begins = file.read(longest)
    if begins and not begins.startswith(tuple(mark.encode() for mark in MARKS)):
        raise SseptError(
            f"{path}: is not a report of ssept, and would be overwritten: choose another "
            "name, or add --overwrite"
        )


def write_report(material: Material, path: Path, form: Form, *, overwrite: bool = False) -> None:
    """Write a report into a file, whole or not at all.

    Raises:
        SseptError: as `text_of`; or the file is there, is no report, and `overwrite` is not set.
    """
    if not overwrite:
        check_replaceable(path)
    save_text(path, text_of(material, form, path))


def write_content(content: Content, path: Path) -> None:
    """Write a page of other content into a file, whole or not at all.

    Raises:
        SseptError: the name does not end as that of a page, or as `write_report`.
    """
    if form_of(path) is not Form.HTML:
        raise SseptError(f"{path}: expected a name that ends in .html")
    check_replaceable(path)
    save_text(path, _page(content, path))


def _json(material: Material) -> dict[str, Any]:
    content = content_of(material)
    return {
        "ssept_report": SCHEMA,
        "recommendations": {
            run.label: choice_json(found)
            if isinstance(found, Recommendation)
            else {"why_not": found}
            for run in material.runs
            for found in (found_in(material, run),)
        },
        "runs": [
            dict(zip(content.runs.columns, row.cells, strict=True)) for row in content.runs.rows
        ],
        "measures": [asdict(measure) for measure in measures_of(material)],
        "sections": [asdict(section) for section in content.sections],
        "scale": [*material.scale],
    }
