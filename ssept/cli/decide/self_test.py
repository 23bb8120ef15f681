"""`ssept self-test`: how often each verdict and interval is wrong, on this machine."""

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import known_names, minutes, positive
from ssept.cli.measuring import progress_bar
from ssept.errors import SseptError
from ssept.files import save_text, write_json
from ssept.installation import shipped_checkpoint

if TYPE_CHECKING:
    from ssept.decide.self_test.studies import Study

HELP = "measure how often ssept's verdicts and intervals are wrong on this machine"
EPILOG = (
    "Each study makes trials in which the truth is known: a file compared with itself, settings "
    "that are copies of each other, simulated losses. Finished trials are stored in DIR, in a file "
    "for each study; if you run the command again, it makes only the missing ones. All studies "
    "take a long time (a progress bar shows the remaining time), and need a machine that runs "
    "nothing else. `ssept gate --self-test` makes the trials of the gate; this command evaluates "
    "them at their tolerance if all studies are selected. Exit code: 0 if no selected study has "
    "more errors than its level allows, 1 if one has, 3 if it was interrupted or could not be "
    "measured."
)
EXAMPLES = {
    "make the missing trials, for an hour at most": "ssept self-test --max-minutes=60",
    "show what the finished trials say": "ssept self-test --report",
    "make 20 trials of one study": "ssept self-test --studies=ratio_quiet --trials=20",
}
RESULTS, GATE_RESULTS = Path("results/self_test"), Path("results/gate")
TOO_MANY_STATUS, INCOMPLETE_STATUS = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ssept.decide.self_test.studies import STUDIES

    trials = parser.add_argument_group("trials")
    trials.add_argument(
        "--studies",
        default=",".join(STUDIES),
        metavar="NAMES",
        help=f"studies, separated by commas (default: all: {', '.join(STUDIES)})",
    )
    trials.add_argument(
        "--trials", type=positive, metavar="N", help="trials of each study (default: its own)"
    )
    trials.add_argument(
        "--max-minutes", type=minutes, metavar="M", help="begin no trial after M minutes"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--report", action="store_true", help="only print what the finished trials show"
    )
    folders = parser.add_argument_group("folders")
    folders.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="folder of the trials"
    )
    folders.add_argument(
        "--gate-results",
        type=Path,
        default=GATE_RESULTS,
        metavar="DIR",
        help="folder of the trials of `ssept gate --self-test`",
    )
    trials.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint to measure (default: the shipped one)",
    )
    output.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    output.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the results as Markdown"
    )
    parser.set_defaults(run=_self_test)


def _self_test(arguments: argparse.Namespace) -> int:
    from ssept.decide.self_test.run import gate_results_in, results_in
    from ssept.decide.self_test.studies import STUDIES
    from ssept.report.studies import studies_markdown, studies_text

    studies = _studies(arguments)
    complete = arguments.report or _measured(arguments, studies)
    found = results_in(arguments.results, studies)
    if set(studies) == set(STUDIES):
        found += gate_results_in(arguments.gate_results)
    if arguments.json:
        write_json(arguments.json, [each.as_json() for each in found])
    if arguments.markdown:
        save_text(arguments.markdown, studies_markdown(found))
    print(studies_text(found) or f"{arguments.results}: no finished trial")
    if not complete:
        return INCOMPLETE_STATUS
    return 0 if all(each.holds for each in found) else TOO_MANY_STATUS


def _measured(arguments: argparse.Namespace, studies: Mapping[str, "Study"]) -> bool:
    """Make the missing trials; whether nothing stopped it."""
    from ssept.decide.self_test.run import run_studies

    limit = math.inf if arguments.max_minutes is None else 60 * arguments.max_minutes
    checkpoint = _checkpoint(arguments)
    try:
        with progress_bar("trial") as show:
            problems = run_studies(checkpoint, studies, arguments.results, show, seconds=limit)
    except KeyboardInterrupt:
        print("ssept: interrupted: finished trials are kept", file=sys.stderr)
        return False
    for name, why in problems.items():
        print(f"ssept: not measured: {name}: {why}", file=sys.stderr)
    return not problems


def _studies(arguments: argparse.Namespace) -> Mapping[str, "Study"]:
    from ssept.decide.self_test.studies import STUDIES

    names = known_names("--studies", arguments.studies, [*STUDIES])
    chosen = {name: STUDIES[name] for name in names}
    if arguments.trials is None:
        return chosen
    return {name: replace(study, trials=arguments.trials) for name, study in chosen.items()}


def _checkpoint(arguments: argparse.Namespace) -> Path:
    checkpoint: Path = arguments.checkpoint or shipped_checkpoint()
    if not checkpoint.is_file():
        raise SseptError(f"{checkpoint}: no such file: name a checkpoint with --checkpoint")
    return checkpoint
