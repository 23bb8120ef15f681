"""Runs the notebooks, and keeps what they show: `python -m tests.notebooks.execute [NAMES]`."""

import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.helpers.matrix import ROOT, environment

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 1800  # the longest is the matrix
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
# What only this machine has: folders, and addresses of others. SVG names its standard by one.
PATH = re.compile(r"(?<![\w.:/<])/(?:work|root|home|tmp|usr|opt|mnt|var|etc|srv|Users)/[\w.-]+")
ADDRESS = re.compile(r"https?://(?!www\.w3\.org/|127\.0\.0\.1\b)[\w.-]+")


def read(path: Path) -> NotebookNode:
    """Read a notebook, which must be valid."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def executed(path: Path, variables: Mapping[str, str]) -> NotebookNode:
    """Run a notebook from its first cell to its last, with more environment variables."""
    notebook = read(path)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
        coalesce_streams=True,  # a line would else be cut where a pipe was read
    )
    client.execute(env=environment() | dict(variables))
    return notebook


def outputs(notebook: NotebookNode) -> Iterator[str]:
    """Yield the text of each output, whatever its form."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            yield from output.get("data", {}).values()


def own_of_the_machine(text: str) -> set[str]:
    """Return what a text has of this machine alone, or names of others."""
    found = {*PATH.findall(text), *ADDRESS.findall(text)}
    return found | ({socket.gethostname()} & {*re.findall(r"[\w.-]+", text)})


def kept(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook as it is kept: without times, in one numbering, paths from the clone."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    for number, cell in enumerate(notebook.cells, 1):
        cell.id, cell.metadata = f"cell-{number:02}", NotebookNode()
        for output in cell.get("outputs", ()):
            if "text" in output:
                output.text = output.text.replace(f"{ROOT}/", "")
    if found := {one for text in outputs(notebook) for one in own_of_the_machine(text)}:
        raise SystemExit(f"not kept, since outputs have {', '.join(sorted(found))}")
    return notebook


def main() -> None:
    """Run the notebooks of these names, or all, and write them with their outputs."""
    for path in NOTEBOOKS:
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            nbformat.write(kept(executed(path, {})), path)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
