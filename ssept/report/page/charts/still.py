"""A plot by itself, outside the page: its colours written out, its width in pixels."""

import json
import re
from pathlib import Path
from typing import Any

import altair as alt

from ssept.report.page.charts import spec_of
from ssept.report.page.charts.style import LOOK
from ssept.report.page.content import Plot

STYLE = Path(__file__).parents[1] / "static" / "page.css"
VARIABLE = re.compile(r"var\((--[\w-]+)\)")
WIDTH = 640


def still(plot: Plot, title: str) -> Any:
    """Return a plot of the report as a chart of Altair, in the colours of the page by daylight."""
    look = LOOK | {"background": "var(--card)"}
    text = json.dumps(spec_of(plot) | {"title": title, "width": WIDTH, "config": look})
    colours = _colours()
    return alt.Chart.from_json(VARIABLE.sub(lambda found: colours[found[1]], text))


def _colours() -> dict[str, str]:
    """Read the values of the page's variables; those of dark mode come after the first rule."""
    light, _, _ = STYLE.read_text(encoding="utf-8").partition("@media")
    return dict(re.findall(r"(--[\w-]+): ([^;]+);", light))
