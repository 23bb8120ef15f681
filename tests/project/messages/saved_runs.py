"""The messages of docs/troubleshooting.md, "Reading saved runs"."""

import json

from ssept.files import json_text
from tests.helpers.matrix import run_content
from tests.project.messages.user import RUNS, User, case


@case
def no_results_file(user: User) -> None:
    user.ssept("report", user.folder / "0001_run.json")


@case
def no_saved_runs(user: User) -> None:
    user.ssept("report", user.folder)


@case
def no_results(user: User) -> None:
    user.ssept("report", user.file("0001_run.json", json_text(run_content())))


@case
def other_schema(user: User) -> None:
    content = run_content()
    content["ssept"]["schema"] = 99
    user.ssept("report", user.file("0001_run.json", json_text(content)))


@case
def changed_run(user: User) -> None:
    path = user.hashed_run()
    path.write_text(path.read_text().replace("CPU A", "CPU B"))
    user.ssept("verify", path)


@case
def no_hashes(user: User) -> None:
    user.ssept("verify", RUNS[0])


@case
def other_machine(user: User) -> None:
    user.ssept("compare", "--absolute", RUNS[0], user.run("other.json", cpu="another"))


@case
def other_baseline(user: User) -> None:
    content = RUNS[0].read_text()
    (digest,) = {
        each["extra_info"]["checkpoint_sha256"] for each in json.loads(content)["benchmarks"]
    }
    other = user.file("other.json", content.replace(digest, "0" * 64))
    user.ssept("compare", RUNS[0], other)


@case
def baseline_may_differ(user: User) -> None:
    user.ssept("compare", RUNS[0], user.run("other.json", packages={"numpy": "0"}))


@case
def not_resumed(user: User) -> None:
    user.matrix(f"--resume={user.hashed_run()}")


@case
def no_report(user: User) -> None:
    user.ssept("report", RUNS[0], "-o", user.file("report.md", "# Mine\n"))
