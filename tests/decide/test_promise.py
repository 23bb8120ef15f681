"""`ssept promise`: the interval of p99, the verdicts, the exit codes, and real servers."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssept.cli import main
from ssept.decide.promise import sample
from ssept.decide.promise.plan import PromisePlan
from ssept.decide.promise.run import Answer, PromiseResult, check
from ssept.decide.promise.tail import tail_of
from ssept.decide.self_test import server_trials
from ssept.decide.self_test.studies import STUDIES
from ssept.errors import LoadError
from ssept.report.served.promise import promise_json, promise_markdown, promise_text
from ssept.serving.launch.uvicorn_app import uvicorn_app
from ssept.serving.load.bodies import read_bodies
from ssept.serving.load.open_loop import Requests
from ssept.serving.load.target import Target
from tests.helpers.servers.serving import live, write_checkpoint

P99 = -math.log(0.01)  # of an exponential with mean 1
TAIL = 0.05
PLAN = PromisePlan(p99_ms=10.0, rate=200.0, seconds=40.0)
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Draw = Callable[[np.random.Generator, FloatArray], FloatArray]


def exponential(mean: float) -> Draw:
    return lambda random, due: random.exponential(mean, len(due))


def bursts(mean: float, share: float, times: float) -> Draw:
    """Seconds of which a share are slower, all of their requests together."""

    def draw(random: np.random.Generator, due: FloatArray) -> FloatArray:
        slow = random.random(int(due.max()) + 1) < share
        return random.exponential(mean, len(due)) * np.where(slow[due.astype(int)], times, 1.0)

    return draw


class MadeUp:
    """Loads with made-up latencies; a load after the last of `draws` has the last one's."""

    def __init__(self, *draws: Draw, seed: int = 0, **others: Any) -> None:
        self.draws, self.others = draws, others
        self.random = np.random.default_rng(seed)
        self.seconds: list[float] = []
        self.seeds: list[int] = []

    def __call__(self, seconds: float, seed: int) -> Requests:
        number = round(PLAN.rate * seconds)
        due = np.sort(self.random.uniform(0, seconds, number))
        draw = self.draws[min(len(self.seconds), len(self.draws) - 1)]
        self.seconds.append(seconds)
        self.seeds.append(seed)
        good = np.ones(number, bool)
        given = {
            "due": due,
            "late_ms": np.zeros(number),
            "latency_ms": draw(self.random, due),
            "good": good,
            "errors": {},
            "waited": 0,
            "seconds": seconds,
            "client_cpu": 0.1,
        }
        return Requests(
            **(given | {k: v(number) if callable(v) else v for k, v in self.others.items()})
        )


def checked(load: MadeUp, plan: PromisePlan = PLAN) -> PromiseResult:
    return check(plan, load, lambda *_: None)


# The interval


def blocks_of(draw: Draw, random: np.random.Generator, count: int = 20) -> list[FloatArray]:
    due = np.sort(random.uniform(0, count, 100 * count))
    return np.split(draw(random, due), np.searchsorted(due, np.arange(1, count)))


def missed(draw: Draw, truth: float, trials: int = 400) -> tuple[float, float]:
    """How often p99 lies below and above the interval."""
    random = np.random.default_rng(1)
    found = [tail_of(blocks_of(draw, random), TAIL).p99_ms for _ in range(trials)]
    return (
        float(np.mean([each.low > truth for each in found])),
        float(np.mean([each.high < truth for each in found])),
    )


def test_the_interval_of_independent_requests_holds_p99_as_often_as_it_says() -> None:
    below, above = missed(exponential(1.0), P99)
    assert below <= TAIL + 0.025
    assert above <= TAIL + 0.025


def test_an_interval_of_requests_that_are_slow_together_does_too() -> None:
    random = np.random.default_rng(0)
    draw = bursts(1.0, 0.3, 3.0)
    many = np.concatenate([draw(random, np.linspace(0, 20, 2000)) for _ in range(2000)])
    below, above = missed(draw, float(np.quantile(many, 0.99)))
    assert below <= TAIL + 0.03
    assert above <= TAIL + 0.03


def test_requests_that_are_slow_together_are_worth_fewer() -> None:
    random = np.random.default_rng(0)
    alone = tail_of(blocks_of(exponential(1.0), random), TAIL)
    together = tail_of(blocks_of(bursts(1.0, 0.2, 5.0), random), TAIL)
    assert 0.4 * alone.requests < alone.worth <= alone.requests
    assert together.worth < 0.5 * alone.worth


def test_the_upper_end_is_within_a_burst_that_was_seen_once() -> None:
    random = np.random.default_rng(0)
    blocks = blocks_of(exponential(1.0), random, 12)
    calm = tail_of(blocks, PLAN.tail).p99_ms
    blocks[5] = 1000 + blocks[5]
    found = tail_of(blocks, PLAN.tail).p99_ms
    assert calm.high < 1000 < found.value <= found.high
    assert found.low <= calm.high


def test_requests_that_all_are_far_below_need_no_more_of_them() -> None:
    random = np.random.default_rng(0)
    found = tail_of(blocks_of(bursts(1.0, 0.3, 5.0), random, 12), PLAN.tail).p99_ms
    assert math.isfinite(found.high)


@pytest.mark.parametrize(
    "blocks",
    [[], [np.empty(0)], [np.ones(5)], [np.ones(2000)], [np.empty(0), np.ones(3)]],
    ids=["none", "empty", "one", "one long", "few"],
)
def test_too_little_has_no_interval(blocks: list[FloatArray]) -> None:
    found = tail_of(blocks, TAIL).p99_ms
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_equal_times_and_failed_requests_have_an_interval() -> None:
    found = tail_of([np.full(500, 3.0)] * 12, TAIL).p99_ms
    assert (found.low, found.value, found.high) == (3.0, 3.0, 3.0)
    failing = [np.append(np.full(480, 3.0), np.full(20, math.inf))] * 12
    assert tail_of(failing, TAIL).p99_ms.low == math.inf


# The plan


def test_the_first_look_has_as_many_requests_as_the_docs_say() -> None:
    from scipy import stats

    assert (
        stats.binom.cdf(1, PLAN.needed, 0.01)
        <= PLAN.tail
        < stats.binom.cdf(1, PLAN.needed - 1, 0.01)
    )
    text = (Path(__file__).parents[2] / "docs/capacity.md").read_text(encoding="utf-8")
    assert f"at least {PLAN.needed} requests" in text


@pytest.mark.parametrize("rate", [0.5, 20.0, 89.0, 200.0, 50_000.0])
def test_a_time_that_is_too_short_is_refused_with_one_that_is_not(rate: float) -> None:
    with pytest.raises(LoadError, match=r"use --seconds=(\d+) or more") as error:
        PromisePlan(p99_ms=1.0, rate=rate, seconds=5.0)
    seconds = float(str(error.value).split("--seconds=")[1].split(" ")[0])
    plan = PromisePlan(p99_ms=1.0, rate=rate, seconds=seconds)
    looks = plan.looks_at
    assert list(looks) == sorted(set(looks))
    assert looks[0] * plan.block_seconds * rate >= plan.needed
    # Requests that are all fast, the fewest that there may be, are enough.
    number = math.floor(plan.block_seconds * rate) if rate > 10 else None
    if number and number * looks[0] < 1e5:
        blocks = [np.full(number, 1.0)] * (looks[0] + 1)
        assert tail_of(blocks, plan.tail).p99_ms.high == 1.0
    assert looks[-1] <= max(seconds, looks[0])


def test_absurdly_many_requests_are_refused() -> None:
    with pytest.raises(LoadError, match="reduce --seconds or --rate"):
        PromisePlan(p99_ms=1.0, rate=1e12, seconds=1e300)


# The verdict


def test_a_server_that_is_much_faster_ends_at_the_first_look() -> None:
    load = MadeUp(exponential(1.0))
    result = checked(load)
    assert (result.answer, result.exit_code, result.why) == (Answer.KEPT, 0, "")
    assert load.seconds == [PLAN.looks_at[0] * PLAN.block_seconds + PLAN.warm_seconds]


def test_a_server_that_is_much_slower_is_confirmed_at_the_first_look() -> None:
    load = MadeUp(exponential(5.0))
    result = checked(load)
    assert (result.answer, result.exit_code) == (Answer.BROKEN, 1)
    assert len(load.seconds) == 2
    assert result.looks[-1].confirmation
    assert len(set(load.seeds)) == 2


def test_a_spell_that_is_over_when_measured_again_breaks_no_promise() -> None:
    result = checked(MadeUp(exponential(4.0), exponential(1.0)))
    assert result.answer is not Answer.BROKEN
    assert any(look.confirmation for look in result.looks)


def test_at_the_promise_itself_nothing_is_decided() -> None:
    load = MadeUp(exponential(PLAN.p99_ms / P99))
    result = checked(load)
    assert (result.answer, result.exit_code) == (Answer.INCONCLUSIVE, 2)
    assert "--seconds" in result.why
    assert [look.blocks for look in result.looks] == list(PLAN.looks_at)


@pytest.mark.parametrize("draw", [exponential(1.0), bursts(1.0, 0.3, 3.0)], ids=["alone", "bursts"])
def test_wrong_verdicts_are_as_rare_as_planned(draw: Draw) -> None:
    random = np.random.default_rng(0)
    many = np.concatenate([draw(random, np.linspace(0, 20, 2000)) for _ in range(2000)])
    truth = float(np.quantile(many, 0.99))
    plan = PromisePlan(p99_ms=truth, rate=PLAN.rate, seconds=40.0, alpha=0.1)
    answers = [checked(MadeUp(draw, seed=seed), plan).answer for seed in range(200)]
    for wrong in (Answer.KEPT, Answer.BROKEN):
        assert answers.count(wrong) <= 200 * plan.alpha / 2 + 8


def failing(number: int) -> np.ndarray[Any, Any]:
    good = np.ones(number, bool)
    good[number // 2] = False
    return good


def test_a_failed_request_breaks_the_promise_unless_some_may() -> None:
    def load() -> MadeUp:
        return MadeUp(exponential(1.0), good=failing, errors={"503": 1})

    result = checked(load())
    assert (result.answer, len(result.looks)) == (Answer.BROKEN, 1)
    assert "1 of 2,200 requests failed (1 × 503)" in result.why
    allowing = PromisePlan(p99_ms=10.0, rate=PLAN.rate, seconds=40.0, max_failed=0.01)
    assert checked(load(), allowing).answer is Answer.KEPT


@pytest.mark.parametrize("mean", [1.0, 5.0], ids=["fast", "slow"])
@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"late_ms": lambda number: np.full(number, 1.5)}, "1.5 ms late"),
        ({"client_cpu": 0.95}, "95% of a CPU"),
        (
            {"late_ms": lambda number: np.full(number, 2.0), "good": failing, "errors": {"503": 1}},
            "2 ms late",
        ),
    ],
    ids=["late", "busy", "late and failed"],
)
def test_a_client_that_is_late_or_busy_decides_nothing(
    mean: float, others: dict[str, Any], said: str
) -> None:
    result = checked(MadeUp(exponential(mean), **others))
    assert (result.answer, result.exit_code) == (Answer.INCONCLUSIVE, 2)
    assert said in result.why


def test_lateness_counts_beside_what_is_promised() -> None:
    late = {"late_ms": lambda number: np.full(number, 1.5)}
    loose = PromisePlan(p99_ms=100.0, rate=PLAN.rate, seconds=40.0)
    assert checked(MadeUp(exponential(1.0), **late), loose).answer is Answer.KEPT


# The reports


@pytest.mark.parametrize("mean", [1.0, PLAN.p99_ms / P99, 5.0])
def test_reports_say_the_same_in_all_forms(mean: float) -> None:
    result = checked(MadeUp(exponential(mean)))
    text = promise_text(result)
    assert text.startswith(f"{result.answer.value.capitalize()}: p99 is ")
    assert max(map(len, text.splitlines())) <= 100
    markdown = promise_markdown(result, "http://server/predict")
    assert markdown.startswith(f"### ssept promise: {result.answer.value}\n")
    found = json.loads(json.dumps(promise_json(result, "http://server", {}), allow_nan=False))
    assert found["answer"] == result.answer.value
    assert len(found["blocks"]) >= result.looks[-1].blocks
    assert found["sentence"] in " ".join(text.split())


# The requests and the URL


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8080", "http://localhost:8080/predict"),
        ("http://localhost:8080/", "http://localhost:8080/predict"),
        ("http://h/v2/models/m/infer?a=b", "http://h:80/v2/models/m/infer?a=b"),
        ("http://[::1]:9/x", "http://[::1]:9/x"),
    ],
)
def test_a_url_names_the_server_and_the_path(url: str, shown: str) -> None:
    assert str(Target.of(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "https://h/",
        "http://",
        "http://h:x/",
        "http://h:99999/",
        "http://a:b@h/",
        "http://h/a b",
        "http://h/\r\nX: y",
        "http://[::1/",
        "ftp://h/",
        "http://h/é",
        "x" * 5000,
    ],
)
def test_what_is_no_url_of_a_server_is_refused_in_one_line(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promise", "--p99-ms=1", "--rate=100", "--", url]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected http://HOST:PORT" in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "no requests in it"),
        (b"\n \n", "no requests in it"),
        (b'{"a": 1}\n{"b"\n', ":2: expected a JSON value"),
        (b"\xff\xfe\n", ":1: expected a JSON value"),
    ],
    ids=["missing", "empty", "blank", "torn", "binary"],
)
def test_files_of_requests_are_checked(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "bodies.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match=said):
        read_bodies(path)


def test_files_of_requests_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "bodies.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\n[2]')
    assert read_bodies(path) == [b'{"a": 1}', b"[2]"]


@pytest.mark.parametrize(
    "option",
    [
        "--p99-ms=0",
        "--p99-ms=nan",
        "--rate=-1",
        "--rate=inf",
        "--rate=1e13",
        "--seconds=0",
        "--wait=-1",
    ],
)
def test_numbers_are_checked(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["promise", "http://localhost", "--p99-ms=1", "--rate=100", option])
    assert end.value.code == 3
    assert "expected" in capsys.readouterr().err


# Real servers


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks short, and a client beside other tests never too late."""
    defaults = PromisePlan.__init__.__kwdefaults__
    assert defaults is not None
    for name, value in {"block_seconds": 0.05, "warm_seconds": 0.1}.items():
        monkeypatch.setitem(defaults, name, value)
    monkeypatch.setattr(sample, "LATE_MS", 1e4)


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[str]:
    """A server that takes 20 ms for each request."""
    app = "ssept.decide.self_test.trial_servers:sleeping"
    variables = {"SSEPT_TRIAL_SERVICE_MS": "20"}
    options = ("--factory", "--lifespan=off")
    with uvicorn_app(app, tmp_path / "log", variables, options) as server:
        yield server.url


def promise(url: str, *options: str) -> int:
    return main(["promise", url, "--rate=600", *options])


@pytest.mark.parametrize(("p99_ms", "code"), [(2000, 0), (10, 1)], ids=["kept", "broken"])
def test_a_real_server_is_judged(
    p99_ms: float,
    code: int,
    brief: None,
    sleeping: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bodies, out, page = (tmp_path / name for name in ("b.jsonl", "out.json", "out.md"))
    bodies.write_text('{"x": 1}\n')
    options = [f"--bodies={bodies}", f"--json={out}", f"--markdown={page}"]
    assert promise(sleeping, f"--p99-ms={p99_ms}", *options) == code
    answer = {0: "kept", 1: "broken"}[code]
    assert capsys.readouterr().out.startswith(f"{answer.capitalize()}: p99 is ")
    found = json.loads(out.read_text())
    assert found["answer"] == answer
    assert found["server"] == f"{sleeping}/predict"
    assert found["looks"][0]["tail"]["p99_ms"]["value"] >= 20
    assert page.read_text().startswith(f"### ssept promise: {answer}")


def test_ssept_serve_is_sent_histories_by_both_protocols(
    brief: None, small_folder: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ssept.serving.settings import ServerSettings

    with live(ServerSettings(model=small_checkpoint)) as server:
        for path in ("", "/v2/models/recommender_model_onnx/infer"):
            url = f"{server.url}{path}"
            given = ["promise", url, "--p99-ms=5000", "--rate=400"]
            assert main([*given, f"--data-dir={small_folder}"]) == 0, capsys.readouterr()


def test_data_that_are_not_the_server_s_are_named(
    tmp_path: Path, small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ssept.serving.settings import ServerSettings

    with live(ServerSettings(model=write_checkpoint(tmp_path / "other.safetensors"))) as server:
        assert promise(server.url, "--p99-ms=9", f"--data-dir={small_folder}") == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "the first request: it was answered with 422" in line


def test_no_server_is_told_after_the_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = tmp_path / "b.jsonl"
    bodies.write_text("{}\n")
    given = ["--p99-ms=9", f"--bodies={bodies}", "--wait=0.1"]
    assert promise("http://127.0.0.1:9", *given) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "http://127.0.0.1:9/predict: no answer" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["promise_sleeping_slow", "promise_sleeping_same"])
def test_a_real_trial_keeps_what_it_was_judged_by(
    name: str, brief: None, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_trials, "SLEEPING_RATE", 500.0)
    monkeypatch.setattr(server_trials, "PROMISE_SECONDS", 6.0)
    trial = STUDIES[name].trial(small_checkpoint, 3)
    found = json.loads(json.dumps(trial, allow_nan=False))
    is_slow = name.endswith("slow")
    assert found["wrong"] == ((found["verdict"] == "broken") != is_slow)
    assert found["plan"]["p99_ms"] == pytest.approx(1.05 * found["unchanged_p99_ms"]["high"])
    assert found["extra_ms"] == (8.0 if is_slow else 0.0)
    assert found["looks"]
    assert sum(block["requests"] for block in found["blocks"]) < found["sent"]
    assert found["errors"] == {}


def test_a_slowed_server_takes_more_time_for_a_request(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    variables = {"SSEPT_TRIAL_EXTRA_MS": "50", "SSEPT_CHECKPOINT": str(small_checkpoint)}
    options = ("--factory", "--lifespan=on")
    app = "ssept.decide.self_test.trial_servers:slowed"
    with uvicorn_app(app, tmp_path / "log", variables, options) as server:
        send = Target(*server.address, path="/health/live").sender([b"{}"], 10.0)
        assert send(0.5, 0).latency_ms.min() >= 50
