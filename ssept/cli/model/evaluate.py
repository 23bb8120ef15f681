"""`ssept evaluate`: the accuracy of checkpoints on a data set."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from ssept.cli.arguments import positive
from ssept.cli.measuring import add_data_dir, data_folder, progress_bar
from ssept.files import written_file

HELP = "measure the accuracy of checkpoints on held-out items, with intervals and by group"
EPILOG = (
    "Several checkpoints, for example several seeds of a recipe, are averaged user by user. With "
    "--against, their mean is compared with the mean of other checkpoints, by a bootstrap over the "
    "same users."
)

EXAMPLES = {
    "evaluate a checkpoint": "ssept evaluate model.safetensors --data-dir=prepared",
    "compare the mean of two seeds with another checkpoint": (
        "ssept evaluate seed1.safetensors seed2.safetensors --against old.safetensors"
    ),
    "rank for 1,000 users of the validation split, and write JSON": (
        "ssept evaluate model.safetensors --split=val --users=1000 --out=accuracy.json"
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ssept.report.evaluate import FORMATS

    parser.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="checkpoint files"
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="checkpoint files to compare with",
    )
    add_data_dir(parser, "data that the checkpoints were trained on, prepared or raw")
    parser.add_argument(
        "--split", choices=("test", "val"), default="test", help="split with the targets"
    )
    parser.add_argument(
        "--users", type=positive, metavar="N", help="use only N random users, the same in every run"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="table", help="output format")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write JSON to this file")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from ssept.data.dataset import load_dataset
    from ssept.decide.evaluate import chosen_cases, evaluate
    from ssept.decide.journal import provenance
    from ssept.model.store import read_about
    from ssept.model.workers import is_first
    from ssept.report.evaluate import accuracy_facts, accuracy_text

    every = [*arguments.checkpoints, *arguments.against]
    dataset = load_dataset(data_folder(every, arguments.data_dir))
    cases = chosen_cases(dataset, arguments.split, arguments.users)
    count = 1 + len(arguments.checkpoints)  # the first is popularity
    about = {
        "data": {"name": read_about(every[0])["data"]["name"], "data_hash": dataset.data_hash},
        "split": arguments.split,
        "targets": len(dataset.cases(arguments.split)),
        "method": dataset.split_method,
        "command": " ".join(["ssept evaluate", *_shortened(arguments)]),
        **provenance(),
    }
    if not is_first():
        evaluate(every, dataset, cases, lambda *_: None)
        return
    # Opened before anything is ranked: a file that cannot be written is known at once.
    with written_file(arguments.out) if arguments.out else nullcontext() as temporary:
        with progress_bar("case") as show:
            found = evaluate(every, dataset, cases, show)
        facts = accuracy_facts(found[0], found[1:count], found[count:], dataset, cases, about)
        if temporary:
            temporary.write_text(accuracy_text(facts, "json") + "\n", encoding="utf-8")
    print(accuracy_text(facts, arguments.format))
    if arguments.out:
        print(f"written to {arguments.out}", file=sys.stderr)


def _shortened(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments without the folders of this machine."""
    words = [path.name for path in arguments.checkpoints]
    if arguments.against:
        words += ["--against", *(path.name for path in arguments.against)]
    if arguments.data_dir:
        words.append(f"--data-dir={Path(arguments.data_dir).name}")
    words.append(f"--split={arguments.split}")
    return words + ([f"--users={arguments.users}"] if arguments.users else [])
