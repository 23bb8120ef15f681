"""`ssept capacity`: how many replicas of a server a peak rate needs, and what they cost."""

import argparse
import json
from pathlib import Path

from ssept.cli.arguments import add_runs, amount, milliseconds, positive, price, share
from ssept.files import write_json
from ssept.results.files import read_matrix_runs

HELP = "compute from saved runs how many replicas of a server a peak rate needs, and their cost"
EPILOG = (
    "The runs are those of `tox -e fastapi`, which search for the largest rate that a server "
    "answers within a limit of p99, with one worker and with a worker for each CPU. Each step of "
    "the computation and its assumptions are printed. If several runs measured the same "
    "configuration, the smallest rate counts."
)
EXAMPLES = {
    "compute the replicas for a peak": ("ssept capacity run.json --peak-rate=2000 --p99-ms=10"),
    "compute their cost too, with 30 % headroom": (
        "ssept capacity run.json --peak-rate=2000 --p99-ms=10 --headroom=30%"
        " --cost-per-replica-hour=0.1"
    ),
}
STDOUT = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_runs(parser, "results files of the matrix, of one machine")
    demand = parser.add_argument_group("demand")
    demand.add_argument(
        "--peak-rate",
        type=amount,
        required=True,
        metavar="R",
        help="highest expected rate, in requests per second",
    )
    demand.add_argument(
        "--p99-ms",
        type=milliseconds,
        required=True,
        metavar="MS",
        help="latency limit of the 99th percentile, as in the runs",
    )
    demand.add_argument(
        "--headroom",
        type=share,
        default="20%",
        metavar="SHARE",
        help="spare capacity above the peak",
    )
    replica = parser.add_argument_group("replica")
    replica.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="server processes of a replica (default: the largest measured number); for a number "
        "that was not measured, the rate is predicted",
    )
    replica.add_argument(
        "--cpus", type=amount, metavar="N", help="CPUs of a replica (default: those of the run)"
    )
    replica.add_argument(
        "--client-elsewhere",
        action="store_true",
        help="leave the CPU time of the client out of predicted rates",
    )
    replica.add_argument(
        "--cost-per-replica-hour", type=price, metavar="PRICE", help="price, in any currency"
    )
    parser.add_argument(
        "--variant", metavar="NAME", help="the served variant, if the runs contain several"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the result as JSON; - prints JSON instead of the text",
    )
    parser.set_defaults(run=_capacity)


def _capacity(arguments: argparse.Namespace) -> None:
    from ssept.decide.capacity.figures import largest_rates
    from ssept.decide.capacity.replicas import Demand, capacity
    from ssept.report.served.capacity import capacity_json, capacity_text

    rates = largest_rates(read_matrix_runs(arguments.runs), arguments.p99_ms, arguments.variant)
    demand = Demand(
        peak_rate=arguments.peak_rate,
        headroom=arguments.headroom,
        workers=arguments.workers,
        cpus=arguments.cpus,
        client_elsewhere=arguments.client_elsewhere,
        cost_per_replica_hour=arguments.cost_per_replica_hour,
    )
    found = capacity(rates, demand)
    if arguments.json == STDOUT:
        print(json.dumps(capacity_json(found), indent=2, allow_nan=False))
        return
    if arguments.json:
        write_json(arguments.json, capacity_json(found))
    print(capacity_text(found))
