"""`ssept promise`: whether a running server keeps a promise of p99 at a rate of requests."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import (
    amount,
    milliseconds,
    seconds,
    seconds_from_zero,
    share,
)
from ssept.cli.measuring import add_data_dir, progress_bar
from ssept.files import save_text, write_json

if TYPE_CHECKING:
    from ssept.serving.load.target import Target

HELP = "check whether a running server keeps its p99 within a limit, at a rate of requests"
EPILOG = (
    "Requests are sent at random times (a Poisson process), whether earlier ones are answered or "
    "not. The latency of a request is counted from the time at which it was due. A few interim "
    "analyses compare the interval of p99 with the promise, so that clear cases end early; the "
    "error rate of 1 % is divided among them. Exit codes: 0 kept; 1 broken, by p99 or by failed "
    "requests; 2 inconclusive: the time limit was reached while the interval still contained the "
    "promised time, or the client itself was late; 3 it could not be measured, which includes "
    "every error, wrong arguments and an interruption."
)
EXAMPLES = {
    "check `ssept serve` at 200 requests a second": (
        "ssept promise http://127.0.0.1:8080 --p99-ms=10 --rate=200"
    ),
    "check Triton, and wait for its start": (
        "ssept promise http://127.0.0.1:8000/v2/models/recommender_model_onnx/infer"
        " --p99-ms=10 --rate=200 --wait=60"
    ),
}
SECONDS = 60.0
LENGTH = 50  # of a sequence to /predict: the shipped models read no more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "url",
        metavar="URL",
        help="http://HOST:PORT of `ssept serve` (add the path if it is not /predict), or "
        "http://HOST:PORT/v2/models/NAME/infer of Triton",
    )
    promise = parser.add_argument_group("promise")
    promise.add_argument(
        "--p99-ms", type=milliseconds, required=True, metavar="MS", help="the promised p99"
    )
    promise.add_argument(
        "--rate", type=amount, required=True, metavar="R", help="requests per second"
    )
    promise.add_argument(
        "--max-failed",
        type=share,
        default="0%",
        metavar="SHARE",
        help="accepted share of failed requests, which then count as slow",
    )
    requests = parser.add_argument_group("requests")
    requests.add_argument(
        "--bodies",
        type=Path,
        metavar="FILE",
        help="file of request bodies, one JSON value per line (default: histories of the data)",
    )
    add_data_dir(requests, "data that the server's model was trained on")
    parser.add_argument(
        "--seconds", type=seconds, default=SECONDS, metavar="S", help="longest measurement"
    )
    parser.add_argument(
        "--wait",
        type=seconds_from_zero,
        default=0.0,
        metavar="S",
        help="time limit for the first response of the server",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the report as Markdown"
    )
    parser.set_defaults(run=_promise)


def _promise(arguments: argparse.Namespace) -> int:
    from ssept.decide.promise.plan import PromisePlan
    from ssept.decide.promise.run import check
    from ssept.measure.machine import fingerprint
    from ssept.report.served.promise import promise_json, promise_markdown, promise_text
    from ssept.serving.load.target import Target, patiently

    target = Target.of(arguments.url)
    plan = PromisePlan(
        p99_ms=arguments.p99_ms,
        rate=arguments.rate,
        seconds=arguments.seconds,
        max_failed=arguments.max_failed,
    )
    bodies = patiently(_first_answer(arguments, target), arguments.wait)
    with progress_bar("s") as show:
        result = check(plan, target.sender(bodies, plan.rate), show)
    with ExitStack() as reports:  # each is written, also where another cannot be
        reports.callback(lambda: print(promise_text(result)))
        if arguments.markdown:
            reports.callback(
                lambda: save_text(arguments.markdown, promise_markdown(result, str(target)))
            )
        if arguments.json:
            found = promise_json(result, str(target), fingerprint())
            reports.callback(lambda: write_json(arguments.json, found))
    return result.exit_code


def _first_answer(arguments: argparse.Namespace, target: "Target") -> Callable[[], list[bytes]]:
    """Return what makes the requests, and makes sure that the first one is answered."""
    from ssept.data.dataset import load_dataset
    from ssept.data.prepare import prepared
    from ssept.data.synthetic import prepared_synthetic
    from ssept.serving.load.bodies import infer_bodies_of, predict_bodies_of, read_bodies

    own = read_bodies(arguments.bodies) if arguments.bodies else None
    dataset = None
    if own is None:
        folder = prepared(arguments.data_dir) if arguments.data_dir else prepared_synthetic()
        dataset = load_dataset(folder)

    def ask() -> list[bytes]:
        if dataset is None:
            bodies = own or []
        elif target.is_open_inference:
            bodies = infer_bodies_of(dataset, *target.model())
        else:
            bodies = predict_bodies_of(dataset, LENGTH)
        target.check(bodies[0])
        return bodies

    return ask
