"""The report as Markdown."""

import re

from tabulate import tabulate

from ssept.report.page.content import Content, Figure, Part, Section


def markdown_of(content: Content) -> str:
    """Return the report as Markdown, its tables as GitHub shows them."""
    sections = [_section(number, section) for number, section in enumerate(content.sections, 1)]
    parts = [f"# {content.title}", _figure(content.runs), *sections]
    return "\n\n".join(parts) + "\n"


def _section(number: int, section: Section) -> str:
    parts = [f"## {number} {section.title}", _plain(section.about), *map(_part, section.parts)]
    if not section.parts:
        parts.append(f"Not measured. To measure it: {_code(section.otherwise)}")
    return "\n\n".join(parts)


def _part(part: Part) -> str:
    heading = [f"### {_plain(part.heading)}"] if part.heading else []
    sentences = [f"**{_plain(each)}**" if part.answers else _plain(each) for each in part.sentences]
    return "\n\n".join([*heading, *sentences, *map(_figure, part.figures)])


def _figure(figure: Figure) -> str:
    table = tabulate(
        [[_cell(cell) for cell in row.cells] for row in figure.rows],
        figure.columns,
        tablefmt="github",
        disable_numparse=True,
    )
    parts = [f"**{_plain(figure.title)}**", table]
    if figure.note:
        parts.append(_plain(figure.note))
    if figure.command:
        parts.append(f"Measure it again: {_code(figure.command)}")
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    """Keep a text within its cell."""
    return _escaped(text).replace("|", "\\|").replace("`", "\\`")


def _plain(text: str) -> str:
    """Escape what Markdown would take for a tag or emphasis; keep code between backticks."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # one without its partner
        return _escaped(text).replace("`", "\\`")
    return "`".join(piece if place % 2 else _escaped(piece) for place, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _code(text: str) -> str:
    """Write code between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
