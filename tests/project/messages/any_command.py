"""The messages of docs/troubleshooting.md, "Any command"."""

from tests.project.messages.user import RUNS, User, case


@case
def unexpected(user: User) -> None:
    def fail() -> None:
        raise RuntimeError("something")

    user.patch.setattr("ssept.cli.commands.check_one_onnxruntime", fail)
    user.ssept("report", RUNS[0])
