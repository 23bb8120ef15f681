"""The messages of docs/troubleshooting.md, "Following a branch"."""

from tests.helpers.repositories import git
from tests.project.messages.user import NOBODY, RUNS, User, case


@case
def no_commits(user: User) -> None:
    user.history(3, dirty=True)


@case
def too_few_commits(user: User) -> None:
    user.history(3)


@case
def no_notes(user: User) -> None:
    git("init", "--quiet", folder=user.folder)
    user.patch.chdir(user.folder)
    user.ssept("history", "--notes=ssept")


@case
def no_uri(user: User) -> None:
    user.patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    user.ssept("export", "mlflow", RUNS[0])


@case
def no_mlflow(user: User) -> None:
    user.patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    user.ssept("export", "mlflow", RUNS[0], f"--uri=http://{NOBODY}")
