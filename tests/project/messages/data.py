"""The messages of docs/troubleshooting.md, "Preparing data"."""

import shutil

from tests.project.messages.user import NOBODY, User, case


@case
def no_known_data(user: User) -> None:
    user.prepare("notes.md", "# Nothing\n")


@case
def no_such_column(user: User) -> None:
    user.prepare("ratings.csv", "userId,itemId,rating,timestamp\n1,2,3,4\n")


@case
def wrong_fields(user: User) -> None:
    user.prepare("u.data", "1\t2\t3\t4\n1\t2\t3\n")


@case
def wrong_id(user: User) -> None:
    user.prepare("ratings.csv", "userId,movieId,rating,timestamp\nu1,2,3,4\n")


@case
def no_ratings_left(user: User) -> None:
    user.prepare("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n", "--min-user=5")


@case
def would_be_lost(user: User) -> None:
    (user.folder / "out").mkdir()
    user.file("out/notes.md", "")
    user.prepare("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n")


@case
def data_changed(user: User) -> None:
    copy = user.folder / "data"
    shutil.copytree(user.data, copy)
    with (copy / "test.csv").open("a") as file:
        file.write("\n")
    user.ssept("evaluate", user.checkpoint, f"--data-dir={copy}")


@case
def no_download(user: User) -> None:
    user.ssept("data", "download", "ml-100k", user.folder / "out", f"--url=http://{NOBODY}")
