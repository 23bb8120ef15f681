"""`ssept capacity`: the arithmetic, what it predicts, and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssept.cli import main
from ssept.decide.capacity.figures import LargestRate
from ssept.decide.capacity.replicas import Demand, capacity
from ssept.errors import SseptError
from ssept.results.files import write_run
from tests.helpers.matrix import ROOT

# One worker: 1,000 requests a second of 0.6 ms on the server and 0.2 ms on the client.
SERVER_S, CLIENT_S = 0.6e-3, 0.2e-3
OLD_RUN = next((ROOT / "tests/data/runs").glob("0012_*.json"))
WITHOUT_SERVERS = next((ROOT / "tests/data/runs").glob("0001_*.json"))


def served(rate: float = 1000.0, workers: int = 1, **changes: Any) -> dict[str, Any]:
    """What a run says of a largest rate."""
    result = {
        "rate": rate,
        "latency": {"p50_ms": 1.0, "p99_ms": 9.0},
        "late_mean_ms": 0.1,
        "client_bound": False,
        "errors": {},
        "client_cpu": rate * CLIENT_S,
        "server_cpu": rate * SERVER_S,
    }
    common = dict.fromkeys(("checkpoint_sha256", "data_hash", "artifact_sha256"), "a" * 64)
    facts = common | {
        "variant": "fused_int8_topk",
        "provider": "fastapi",
        "threads": 1,
        "options": {"provider": "cpu", "workers": workers},
        "size_bytes": 1,
        "measure": "served requests",
        "served": "fastapi",
        "client": "LoadGen",
        "load": "largest rate",
        "result": result,
        "largest_rate": rate,
        "limit_ms": 10,
    }
    for name in changes.keys() & result.keys():
        result[name] = changes.pop(name)
    return {k: v for k, v in (facts | changes).items() if v is not None}


def saved(path: Path, *facts: dict[str, Any], **machine: Any) -> Path:
    """A saved run of a machine with 2 CPUs."""
    benchmarks = [
        {"name": f"test_{place}", "fullname": f"t.py::test_{place}", "extra_info": own}
        | {"stats": {"median": 1.0, "q1": 1.0, "q3": 1.0}}
        for place, own in enumerate(facts)
    ]
    about = {"schema": 1, "baseline": "onnx-cpu", "outcomes": [], "not_applicable": []}
    fingerprint = {"cpu": "Made up", "cpus_allowed": 2, "cgroup_cpu_quota": None} | machine
    content = {"benchmarks": benchmarks, "ssept": about, "machine_info": {"ssept": fingerprint}}
    write_run(path, content)
    return path


def asked(*arguments: str | Path) -> int:
    return main(["capacity", "--p99-ms=10", *map(str, arguments)])


def found(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert asked("--json=-", *arguments) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def steps(answer: dict[str, Any]) -> dict[str, float]:
    return {step["what"]: step["value"] for step in answer["steps"]}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert asked("--peak-rate=100", *arguments) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert not captured.out
    assert len(line) < 700
    return line


def test_a_measured_rate_is_divided_and_rounded_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served(1000.0, workers=2))
    given = (run, "--peak-rate=5000", "--headroom=20%", "--cost-per-replica-hour=0.5")
    answer = found(capsys, *given)
    assert answer["replicas"] == 6
    assert answer["cost_per_hour"] == 3.0
    assert not answer["predicted"]
    assert steps(answer)["to answer"] == 6000
    assert asked(*given) == 0
    text = capsys.readouterr().out
    assert text.startswith("6 replicas for a peak of 5,000 requests a second")
    assert "5,000 × (1 + 0.2)" in text
    assert "6,000 / 1,000 = 6.000, rounded up" in text
    assert "6 × 0.5" in text
    assert "3 × 730 hours" in text
    assert "ssept promise URL --p99-ms=10 --rate=833.333" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        # 2 CPUs, each used for 60 % of its time, by requests of 0.8 ms of server and client.
        (["--workers=2"], 2 * 0.6 / 0.8e-3),
        (["--workers=2", "--client-elsewhere"], 2000.0),
        (["--workers=2", "--cpus=1"], 0.6 / 0.8e-3),
        (["--workers=2", "--cpus=8"], 2000.0),
        (["--workers=8", "--cpus=8"], 8 * 0.6 / 0.8e-3),
        (["--workers=8"], 2 * 0.6 / 0.8e-3),
    ],
)
def test_other_workers_are_predicted_from_the_cpu_time_of_a_request(
    tmp_path: Path, options: list[str], rate: float, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served(1000.0, workers=1))
    answer = found(capsys, run, "--peak-rate=10", *options)
    assert answer["predicted"]
    assert answer["replica_rate"] == pytest.approx(rate)
    assert any("not measured" in sentence for sentence in answer["assumed"])


def test_a_worker_that_shared_its_cpu_with_the_client_is_multiplied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served(1000.0, workers=1), cpus_allowed=1)
    for count, rate in (1, 1000), (2, 2000), (3, 3000):
        answer = found(capsys, run, "--peak-rate=10", f"--workers={count}", f"--cpus={count}")
        assert answer["replica_rate"] == pytest.approx(rate)
    assert found(capsys, run, "--peak-rate=10", "--workers=2")["replica_rate"] == 1000
    assert any("shared" in step["how"] for step in answer["steps"])
    assert not any("too high" in sentence for sentence in answer["assumed"])


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--workers=2"], True),
        (["--workers=8", "--cpus=8"], True),
        (["--workers=2", "--cpus=8"], False),
        (["--workers=2", "--client-elsewhere"], False),
    ],
)
def test_a_worker_that_had_a_cpu_to_itself_is_said_to_promise_too_much(
    tmp_path: Path, options: list[str], warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served(1000.0, workers=1))
    answer = found(capsys, run, "--peak-rate=10", *options)
    assert any("too high" in sentence for sentence in answer["assumed"]) == warned


def test_a_rate_that_was_measured_is_not_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served(1000.0, 1), served(1300.0, 2))
    for options, rate in ([], 1300), (["--workers=1"], 1000), (["--workers=2"], 1300):
        answer = found(capsys, run, "--peak-rate=10", *options)
        assert (answer["replica_rate"], answer["predicted"]) == (rate, False)


def test_of_several_runs_the_smallest_rate_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [saved(tmp_path / f"{n}.json", served(float(n), 2)) for n in (1200, 900, 1100)]
    answer = found(capsys, *runs, "--peak-rate=10")
    assert answer["replica_rate"] == 900
    assert any("900.json" in step["how"] and "of 3" in step["how"] for step in answer["steps"])


def test_a_run_of_before_answers_for_what_it_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert found(capsys, OLD_RUN, "--peak-rate=5000")["replicas"] == 3
    assert "lacks the CPU time of a request" in refusal(capsys, OLD_RUN, "--workers=1")


@pytest.mark.parametrize(
    ("facts", "machine", "said"),
    [
        ([served(limit_ms=5)], {}, "only within 5 ms: measure with `tox -e fastapi"),
        ([served(largest_rate=None)], {}, "no largest rate of a server"),
        ([served(options={"provider": "cpu"})], {}, "options.workers of a largest rate is None"),
        ([served(options={"workers": "2"})], {}, "options.workers of a largest rate is '2'"),
        ([served(), served(variant="fused_topk")], {}, "several servers"),
        ([served(), served(artifact_sha256="b" * 64)], {}, "several servers"),
    ],
    ids=["limit", "no rate", "no workers", "odd workers", "variants", "models"],
)
def test_what_does_not_answer_the_question_is_refused(
    tmp_path: Path,
    facts: list[dict[str, Any]],
    machine: dict[str, Any],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = saved(tmp_path / "run.json", *facts, **machine)
    line = refusal(capsys, run)
    assert said in line
    assert "run.json" in line


def test_runs_without_servers_and_of_several_machines_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no largest rate of a server" in refusal(capsys, WITHOUT_SERVERS)
    one = saved(tmp_path / "one.json", served())
    other = saved(tmp_path / "other.json", served(), cpu="Another")
    line = refusal(capsys, one, other)
    assert "several machines" in line
    assert "one.json" in line
    assert "other.json" in line
    # Without a server, a run of another machine is none to be confused with.
    assert asked(one, WITHOUT_SERVERS, "--peak-rate=10") == 0


def test_a_variant_is_chosen_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path / "run.json", served(500.0), served(900.0, variant="fused_topk"))
    answer = found(capsys, run, "--peak-rate=10", "--variant=fused_topk")
    assert answer["replica_rate"] == 900
    line = refusal(capsys, run, "--variant=onnx")
    assert "no largest rate of onnx, only of fused_int8_topk, fused_topk" in line


@pytest.mark.parametrize(
    "option",
    [
        "--peak-rate=0",
        "--peak-rate=nan",
        "--peak-rate=-1",
        "--peak-rate=1e300",
        "--peak-rate=x",
        "--headroom=-1",
        "--headroom=3",
        "--workers=0",
        "--cpus=0",
        "--cpus=inf",
        "--cost-per-replica-hour=-1",
        "--cost-per-replica-hour=nan",
        "--p99-ms=0",
    ],
)
def test_numbers_are_checked(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served())
    with pytest.raises(SystemExit) as end:
        asked(run, "--peak-rate=100", option)
    assert end.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_more_replicas_than_anybody_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run.json", served())
    assert asked(run, "--peak-rate=1e12", "--headroom=1e290%") == 1
    assert "more than 1,000,000 replicas" in capsys.readouterr().err


POSITIVE = st.floats(1e-30, 1e30)


@given(
    rate=POSITIVE,
    workers=st.integers(1, 1 << 40),
    server_s=POSITIVE,
    client_s=POSITIVE,
    cpus=st.floats(0.1, 1e6) | st.none(),
    peak=st.floats(5e-324, 1e12),
    headroom=st.floats(0, 1e300),
    wanted=st.none() | st.integers(1, 1 << 30),
    elsewhere=st.booleans(),
    price=st.none() | st.floats(0, 1e12),
)
def test_the_replicas_are_enough_and_not_one_too_many(
    rate: float,
    workers: int,
    server_s: float,
    client_s: float,
    cpus: float | None,
    peak: float,
    headroom: float,
    wanted: int | None,
    elsewhere: bool,
    price: float | None,
) -> None:
    measured = LargestRate(
        run="run.json",
        machine={},
        variant="v",
        server="s",
        artifact="a",
        workers=workers,
        cpus=cpus,
        rate=rate,
        limit_ms=10.0,
        server_s=server_s,
        client_s=client_s,
    )
    demand = Demand(
        peak_rate=peak,
        headroom=headroom,
        workers=wanted,
        client_elsewhere=elsewhere,
        cost_per_replica_hour=price,
    )
    try:
        answer = capacity([measured], demand)
    except SseptError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        return
    json.dumps(answer.as_json(), allow_nan=False)
    needed, rounding = peak * (1 + headroom), 1e-9
    assert answer.replicas * answer.replica_rate >= needed * (1 - rounding)
    assert answer.replicas == 1 or (answer.replicas - 1) * answer.replica_rate < needed * (
        1 + rounding
    )
    assert all(math.isfinite(step.value) for step in answer.steps)
