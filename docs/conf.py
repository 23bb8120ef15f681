"""The site of the documentation: `tox -e docs` builds it with Sphinx.

Its sources are the pages as they are read in the repository, and pages made from the code itself.
"""

import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from made_from_code import GENERATED, write_pages

project = "ssept"
author = "the ssept authors"
release = metadata.version("ssept")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
# The whole repository is the source, so that a link from page to page is the same in both.
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "RELEASING.md"),
    *("models/README.md", "results/README.md", "results/scale*/scale.md", "changelog.d/README.md"),
]
exclude_patterns = [".tox", "build"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["toc.not_included"]  # pages that others link to, as the models' own
autodoc_typehints = "description"
default_role = "code"  # what docstrings have between single backticks
html_theme = "furo"
html_title = f"ssept {release}"
html_show_copyright = False
# Each version's site lies in a folder of its name beside the others; one alone is not listed.
templates_path = ["_templates"]
html_context = {"versions": (Path(__file__).parent / "versions.txt").read_text("utf-8").split()}
html_sidebars = {
    "**": [
        *("sidebar/brand.html", "sidebar/search.html", "sidebar/scroll-start.html"),
        *("sidebar/navigation.html", "versions.html", "sidebar/scroll-end.html"),
    ]
}


def setup(app: Sphinx) -> None:
    """Write the generated pages before any is read."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / GENERATED))
