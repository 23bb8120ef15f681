"""`ssept choose`: what to deploy on this machine."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import (
    known_names,
    milliseconds,
    minutes,
    number_above_zero,
    positive,
    positives,
    share_below_one,
)
from ssept.cli.measuring import add_data_dir, progress_bar, warn_of_noise
from ssept.cli.parsers import Options
from ssept.decide.choose.candidates import DEFAULT_LOSS
from ssept.errors import SseptError
from ssept.files import write_json
from ssept.providers import PROVIDERS
from ssept.variants import CUSTOM, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssept.decide.choose import Promises, Recommendation
    from ssept.decide.choose.run import ChoicePlan

HELP = "choose what to deploy: the best variant and provider that keep your promises (limits)"
EPILOG = (
    "Without RUN, every cell that this machine can run is measured: first its accuracy, then its "
    "speed in a race. In the race, cells and the baseline are timed alternately in fresh "
    "processes, and a cell is dropped when it is certainly slower than the leader. Cells that "
    "differ by less than 2 % tie, and the next goal decides. The first time, model files are "
    "built, which takes minutes; some need a tool of 600 MB that is installed once (to avoid it, "
    "choose other variants with --variants=NAMES). Measurements are stored in the file of "
    "--journal, and an interrupted choice continues from it. Exit codes: 0 a cell was chosen; 1 no "
    "cell keeps all promises; 2 the time limit was reached before the race was settled, or the "
    "data do not show that a promise is kept; 3 something could not be measured."
)
EXAMPLES = {
    "measure what runs here, and choose the fastest": "ssept choose --max-minutes=6",
    "choose from a saved run, under promises": (
        "ssept choose run.json --goal=throughput --max-accuracy-loss=0.5% --p99-ms=10"
    ),
    "choose the cheapest of several machines": (
        "ssept choose machine1.json machine2.json --goal=cost --prices=prices.toml"
    ),
}
GOALS = ("latency", "throughput", "size", "memory", "cost")
OF_SERVERS = "requests"  # a goal of saved runs alone
THROUGHPUT_BATCHES = (1, 8, 64)
MINUTES = 6.0
USERS = 1000
JOURNAL = Path("results/choose/choices.jsonl")
NONE_STATUS, OPEN_STATUS = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "run_files",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="a results file of the matrix to choose from; without it, cells are measured. "
        "With one file per machine, choose the best cell of each machine, and one that is good on "
        f"all. For the goal {OF_SERVERS}: a file of `tox -e servers`, then files with the accuracy "
        "of the served variants",
    )
    parser.add_argument(
        "--goal",
        choices=(*GOALS, OF_SERVERS),
        default=GOALS[0],
        help=f"what to optimize; {OF_SERVERS}: the highest rate of requests that a server of RUN "
        "answers within its promise",
    )
    parser.add_argument(
        "--batch-size",
        type=positives,
        metavar="NUMBERS",
        help="sequences per call; for throughput and cost, several sizes compete (default: 1, or "
        f"{','.join(map(str, THROUGHPUT_BATCHES))})",
    )
    parser.add_argument(
        "--threads", type=positives, default="1", metavar="NUMBERS", help="threads of a call"
    )
    add_promises(parser.add_argument_group("promises"))
    _add_measured(parser.add_argument_group("measurement, without RUN"))
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="TOML file with the price of an hour on each machine of several RUNs; a line is a "
        'pattern of a CPU or host name, and the price: "*EPYC*" = 0.085',
    )
    parser.add_argument(
        "--full", action="store_true", help="show all cells, and why cells were left out"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    parser.set_defaults(run=_choose)


def _add_measured(measured: Options) -> None:
    known = ", ".join(PROVIDERS)
    measured.add_argument(
        "--variants", metavar="NAMES", help="variants, separated by commas (default: all)"
    )
    measured.add_argument(
        "--providers",
        metavar="NAMES",
        help=f"providers, separated by commas (default: all: {known})",
    )
    measured.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="the checkpoint to measure"
    )
    add_data_dir(measured, "the ratings that the model was trained on")
    measured.add_argument(
        "--users",
        type=positive,
        default=USERS,
        metavar="N",
        help="measure the accuracy for N users",
    )
    measured.add_argument(
        "--max-minutes",
        type=minutes,
        default=MINUTES,
        metavar="M",
        help="time limit, not counting the building of model files",
    )
    measured.add_argument(
        "--journal",
        type=Path,
        default=JOURNAL,
        metavar="FILE",
        help="file that stores the measurements",
    )


def add_promises(parser: Options) -> None:
    """Declare the options of promises."""
    parser.add_argument(
        "--max-accuracy-loss",
        type=share_below_one,
        default=DEFAULT_LOSS,
        metavar="SHARE",
        help="promise: largest loss of NDCG@10, relative to the baseline, for example 0.5% "
        f"(default: {DEFAULT_LOSS:.0%}".replace("%", "%%")
        + ")",
    )
    parser.add_argument(
        "--p99-ms", type=milliseconds, metavar="MS", help="promise: 99 %% of calls take at most MS"
    )
    parser.add_argument(
        "--max-mb", type=number_above_zero, metavar="MB", help="promise: size of the model file"
    )
    parser.add_argument(
        "--max-memory-mb",
        type=number_above_zero,
        metavar="MB",
        help="promise: peak memory of a process that loads the model and makes one call; for a "
        "server, the memory of its processes under load",
    )


def _choose(arguments: argparse.Namespace) -> int:
    from ssept.report.choose import choice_json, choice_text

    several = len(arguments.run_files) > 1 and arguments.goal != OF_SERVERS
    if arguments.prices and not several:
        raise SseptError(
            f"--prices: expected saved runs of several machines, and a goal other than {OF_SERVERS}"
        )
    if several:
        return _everywhere(arguments)
    found, left_out = _saved(arguments) if arguments.run_files else _measured(arguments)
    if arguments.json:
        write_json(arguments.json, choice_json(found, left_out))
    print(choice_text(found, left_out, full=arguments.full))
    if found.chosen is None:
        return NONE_STATUS
    return 0 if found.settled and not found.unshown else OPEN_STATUS


def _saved(arguments: argparse.Namespace) -> "tuple[Recommendation, Mapping[str, str]]":
    from ssept.decide.choose import Goal, recommend
    from ssept.results.files import read_matrix_run

    run, *others = map(read_matrix_run, arguments.run_files)
    goal, promises = Goal(arguments.goal), promises_of(arguments)
    return recommend(run, goal, promises, _batch(arguments), others), {}


def _everywhere(arguments: argparse.Namespace) -> int:
    from ssept.decide.choose import Goal
    from ssept.decide.choose.everywhere import everywhere, read_prices
    from ssept.report.everywhere import everywhere_json, everywhere_text
    from ssept.results.files import read_matrix_runs

    found = everywhere(
        read_matrix_runs(arguments.run_files),
        Goal(arguments.goal),
        promises_of(arguments),
        _batch(arguments),
        read_prices(arguments.prices) if arguments.prices else None,
    )
    if arguments.json:
        write_json(arguments.json, everywhere_json(found))
    print(everywhere_text(found, full=arguments.full))
    return 0 if found.chosen else NONE_STATUS


def _batch(arguments: argparse.Namespace) -> int:
    sizes: list[int] = arguments.batch_size or [1]
    return sizes[0]


def _measured(arguments: argparse.Namespace) -> "tuple[Recommendation, Mapping[str, str]]":
    from ssept.decide.choose.run import run_choice

    plan = _plan(arguments)
    warn_of_noise()
    try:
        with progress_bar("s") as show:
            choice = run_choice(plan, show)
    except KeyboardInterrupt:
        print(
            f"ssept: interrupted: the measurements are stored in {arguments.journal}; repeat the "
            "command to continue",
            file=sys.stderr,
        )
        raise
    return choice.recommendation, choice.left_out


def _plan(arguments: argparse.Namespace) -> "ChoicePlan":
    from ssept.data.dataset import data_hash
    from ssept.data.prepare import prepared
    from ssept.data.synthetic import prepared_synthetic
    from ssept.decide.choose import Goal
    from ssept.decide.choose.run import ChoicePlan
    from ssept.model.store import checkpoint_for

    goal = Goal(arguments.goal)
    if goal is Goal.REQUESTS:
        raise SseptError(
            f"--goal={OF_SERVERS}: expected a saved run of servers: measure one with "
            "`tox -e servers`, and give its file"
        )
    several = goal in (Goal.THROUGHPUT, Goal.COST)
    batches = arguments.batch_size or (THROUGHPUT_BATCHES if several else [1])
    if len(batches) > 1 and not several:
        raise SseptError(
            f"--batch-size {','.join(map(str, batches))}: expected one size for the goal "
            f"{goal.value}; only throughput and cost accept several"
        )
    data = prepared(arguments.data_dir) if arguments.data_dir else prepared_synthetic()
    own = [name for name in VARIANTS if name != CUSTOM]
    return ChoicePlan(
        goal=goal,
        promises=promises_of(arguments),
        checkpoint=checkpoint_for(data_hash(data), data, arguments.checkpoint),
        data=data,
        variants=known_names("--variants", arguments.variants or ",".join(own), own),
        providers=known_names(
            "--providers", arguments.providers or ",".join(PROVIDERS), [*PROVIDERS]
        ),
        threads=arguments.threads,
        batches=batches,
        users=arguments.users,
        minutes=arguments.max_minutes,
        journal=arguments.journal,
    )


def promises_of(arguments: argparse.Namespace) -> "Promises":
    """Return the promises that the options of `add_promises` name."""
    from ssept.decide.choose import Promises

    return Promises(
        max_accuracy_loss=arguments.max_accuracy_loss,
        p99_ms=arguments.p99_ms,
        max_mb=arguments.max_mb,
        max_memory_mb=arguments.max_memory_mb,
    )
