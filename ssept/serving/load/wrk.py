"""wrk, a closed loop: a fixed number of requests at a time."""

import json
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ssept.children import finished, last_words
from ssept.errors import LoadError
from ssept.measure.statistics import MINIMUM_SAMPLES
from ssept.serving.load.answers import ExpectedAnswers, witness_of_predictions
from ssept.serving.load.result import Percentiles, Result

SCRIPT = Path(__file__).with_name("predict.lua")
PATIENCE_SECONDS = 30  # beyond the load's own time
UNANSWERED = "unanswered"  # within 2 s
ERRORS = {
    "status": "a status of 400 or more",
    "connect": "not connected",
    "read": "closed",
    "write": "not sent",
    "timeout": UNANSWERED,
}


def unavailable() -> str | None:
    """Return why wrk cannot be used here; None if it can."""
    return None if shutil.which("wrk") else "wrk is not installed: apt-get install wrk"


def measure(
    url: str,
    bodies: Sequence[bytes],
    concurrency: int,
    seconds: int,
    expected: ExpectedAnswers | None = None,
) -> Result:
    """Post the bodies in turn over `concurrency` connections, with one thread of wrk.

    Args:
        url: with the path.
        bodies: of one line each.
        concurrency: requests under way at any time.
        seconds: how long.
        expected: what the bodies have to be answered with. wrk keeps no answers: a witness asks
            beside it.

    Raises:
        AnswerError: an answer to the witness is wrong.
        LoadError: wrk is not there or fails, as it does where nothing listens.
    """
    if reason := unavailable():
        raise LoadError(reason)
    with tempfile.NamedTemporaryFile(prefix="ssept-") as file:
        file.write(b"\n".join([*bodies, b""]))
        file.flush()
        amount = ["-t1", f"-c{concurrency}", f"-d{seconds}s"]
        command = ["wrk", *amount, "-s", str(SCRIPT), url, "--", file.name]
        before = _children_cpu()
        witness = witness_of_predictions(url, bodies, concurrency)
        try:
            with witness if expected else nullcontext():
                done = finished(command, timeout=seconds + PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"{url}: wrk did not end within {error.timeout:g} s") from error
        cpu = _children_cpu() - before
    if expected:
        expected.check_predictions(witness.answers)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        said = last_words(done.stderr or done.stdout)
        raise LoadError(f"{url}: wrk ended with {done.returncode}: {said}") from error
    return _result(found, cpu)


def _result(found: dict[str, int], cpu: float) -> Result:
    requests, seconds = found["requests"], found["us"] / 1e6
    latencies = [
        found[f"p{q}"] / 1e3 if requests >= least else None for q, least in MINIMUM_SAMPLES.items()
    ]
    return Result(
        rate=(requests - found["status"]) / seconds,
        requests=requests,
        seconds=seconds,
        latency=Percentiles(*latencies),
        errors={kind: found[name] for name, kind in ERRORS.items() if found[name]},
        client_cpu=cpu / seconds,
    )


def _children_cpu() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
