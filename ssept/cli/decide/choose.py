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
from ssept.decide.choose.candidates import DEFAULT_LOSS
from ssept.errors import SseptError
from ssept.files import write_json
from ssept.providers import PROVIDERS
from ssept.variants import CUSTOM, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssept.decide.choose import Promises, Recommendation
    from ssept.decide.choose.run import ChoicePlan

HELP = "choose what to deploy: the best variant and provider here that keep your promises"
EPILOG = (
    "Without RUN, everything that runs here is measured: accuracy first, then a race, in which "
    "cells are timed in turn with the baseline in fresh processes, and leave as soon as they are "
    "surely slower than the leader. Cells that are equal within 2 % tie, and the next goal "
    "decides. The first time, model files are built, which takes minutes, and some need a tool "
    "of 600 MB that is installed once: --variants=NAMES leaves them out. What is measured is "
    "kept in FILE of --journal; an interrupted choice goes on from there. Exit codes: 0 a cell "
    "was chosen; 1 no cell keeps all promises; 2 the time was over before the race was settled, "
    "or a promise is not shown to be kept; 3 something could not be measured."
)
GOALS = ("latency", "throughput", "size", "memory", "cost")
OF_SERVERS = "requests"  # a goal of saved runs alone
THROUGHPUT_BATCHES = (1, 8, 64)
MINUTES = 6.0
USERS = 1000
JOURNAL = Path("results/choose/choices.jsonl")
NONE_STATUS, OPEN_STATUS = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "run_files",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="a results file of the matrix to choose from; without it, cells are measured. For the "
        f"goal {OF_SERVERS}, one of servers, and others that have the accuracy of what they serve",
    )
    parser.add_argument(
        "--goal",
        choices=(*GOALS, OF_SERVERS),
        default=GOALS[0],
        help=f"what is best; {OF_SERVERS}: the most requests a second that a server of RUN answers "
        "within its promise",
    )
    parser.add_argument(
        "--batch-size",
        type=positives,
        metavar="NUMBERS",
        help="sequences in a call; for throughput and cost several compete (default: 1, or "
        f"{','.join(map(str, THROUGHPUT_BATCHES))})",
    )
    parser.add_argument(
        "--threads", type=positives, default="1", metavar="NUMBERS", help="threads of a call"
    )
    add_promises(parser)
    known = ", ".join(PROVIDERS)
    parser.add_argument(
        "--variants", metavar="NAMES", help="variants, separated by commas (default: all)"
    )
    parser.add_argument(
        "--providers",
        metavar="NAMES",
        help=f"providers, separated by commas (default: all: {known})",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the model")
    add_data_dir(parser, "the ratings that the model was trained on")
    parser.add_argument(
        "--users", type=positive, default=USERS, metavar="N", help="rank for N of the users"
    )
    parser.add_argument(
        "--max-minutes", type=minutes, default=MINUTES, metavar="M", help="time without building"
    )
    parser.add_argument(
        "--journal", type=Path, default=JOURNAL, metavar="FILE", help="what is measured, kept"
    )
    parser.add_argument("--full", action="store_true", help="show all cells and reasons")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answer as JSON too")
    parser.set_defaults(run=_choose)


def add_promises(parser: argparse.ArgumentParser) -> None:
    """Declare the options of promises."""
    parser.add_argument(
        "--max-accuracy-loss",
        type=share_below_one,
        default=DEFAULT_LOSS,
        metavar="SHARE",
        help="promise: at most this share of the baseline's NDCG@10 is lost, as 0.5% "
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
        help="promise: peak memory of a process that loads the model and answers once; of a "
        "server, what its processes have under load",
    )


def _choose(arguments: argparse.Namespace) -> int:
    from ssept.report.choose import choice_json, choice_text

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

    goal, batch = Goal(arguments.goal), (arguments.batch_size or [1])[0]
    if len(arguments.run_files) > 1 and goal is not Goal.REQUESTS:
        raise SseptError(
            f"{arguments.run_files[1]}: expected one saved run for the goal {goal.value}; only "
            f"{OF_SERVERS} reads several"
        )
    run, *others = map(read_matrix_run, arguments.run_files)
    return recommend(run, goal, promises_of(arguments), batch, others), {}


def _measured(arguments: argparse.Namespace) -> "tuple[Recommendation, Mapping[str, str]]":
    from ssept.decide.choose.run import run_choice

    plan = _plan(arguments)
    warn_of_noise()
    try:
        with progress_bar("s") as show:
            choice = run_choice(plan, show)
    except KeyboardInterrupt:
        print(
            f"ssept: interrupted: what was measured is kept in {arguments.journal}; the same "
            "command goes on",
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
            f"{goal.value}: only the throughput and the cost compare several"
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
