"""A copy of the small data set whose items have titles to look for."""

import csv
import shutil
from pathlib import Path

TITLES = {
    1: ("Été à Łódź, L' (1968)", "Drama|Romance"),
    2: ("Harbour Lights (1951)", "Drama"),
    3: ("Lights of the Harbour (1987)", "Film-Noir"),
    4: ("<b onclick=alert(1)>Bold & Brave</b> (2001)", "Action"),
    5: ("", ""),
}


def titled_copy(folder: Path, copy: Path) -> Path:
    """The prepared folder's splits, so that checkpoints of it fit, with titles of our own."""
    shutil.copytree(folder, copy)
    with (copy / "items.csv").open(encoding="utf-8", newline="") as file:
        rows = {int(row["movieId"]): (row["title"], row["genres"]) for row in csv.DictReader(file)}
    with (copy / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("movieId", "title", "genres"))
        writer.writerows((item, *row) for item, row in (rows | TITLES).items())
    return copy
