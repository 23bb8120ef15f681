"""The messages of docs/troubleshooting.md, "Gating a change"."""

from typing import Any

from ssept.decide.gate import sequential_test
from tests.helpers.repositories import git, write_engine
from tests.project.messages.user import User, case


@case
def no_revision(user: User) -> None:
    git("init", "--quiet", folder=user.folder)
    user.patch.chdir(user.folder)
    user.ssept("gate", "main", "feature")


@case
def other_python(user: User) -> None:
    tree = write_engine(user.folder / "old", "old", items=1, work=1)
    project = tree / "pyproject.toml"
    project.write_text(project.read_text().replace(">=3.10", ">=3.99"))
    user.ssept("gate", tree, tree)


@case
def no_cells(user: User) -> None:
    user.gate_onnx("-k", "openvino")


@case
def unknown_budget(user: User) -> None:
    budgets = user.file("budgets.toml", '["custom-cpu*"]\nspeed = "3%"\n')
    user.gate_onnx("--no-accuracy", f"--budgets={budgets}")


@case
def wrong_budget(user: User) -> None:
    budgets = user.file("budgets.toml", '["custom-cpu*"]\nlatency = 3\n')
    user.gate_onnx("--no-accuracy", f"--budgets={budgets}")


@case
def gate_of_other_data(user: User) -> None:
    user.gate_onnx(f"--data-dir={user.data}")


@case
def inconclusive(user: User) -> None:
    """A machine on which each pass is a tenth faster or slower than the one before."""
    judge = sequential_test.Trials.after_pass
    noise = iter([0.1, -0.1] * 100)

    def noisy(self: Any, log_ratios: dict[str, float], last: bool) -> None:
        judge(self, {name: next(noise) for name in log_ratios}, last)

    user.patch.setattr(sequential_test.Trials, "after_pass", noisy)
    user.gate_onnx("--no-accuracy")
