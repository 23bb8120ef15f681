"""`ssept gate`: whether one version of the code or of a model is worse than another."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from ssept.artifacts import read_artifacts
from ssept.cli import gate_self_test
from ssept.cli.arguments import positive, positives, seconds
from ssept.data.dataset import data_hash, load_dataset
from ssept.data.prepare import prepared
from ssept.data.synthetic import prepared_synthetic
from ssept.errors import GateError
from ssept.expressions import chosen
from ssept.files import write_json, written_file
from ssept.model.store import checkpoint_for
from ssept.percent import EXPECTED, share
from ssept.signals import interrupted_by
from ssept.variants import CUSTOM

if TYPE_CHECKING:
    from ssept.decide.gate.budgets import Budgets
    from ssept.decide.gate.cells import Cell
    from ssept.decide.gate.sides.side import Side
    from ssept.decide.gate.suite import Suite
    from ssept.decide.gate.timing import Timing

HELP = "compare two revisions, artifacts folders or ONNX files: slower, less accurate, larger?"
EPILOG = (
    "Exit codes: 0 fine; 1 regressed; 2 inconclusive; 3 something could not be measured, which "
    "includes wrong arguments and an interruption. Of several the first of 1, 3, 2, 0."
)
ERROR_STATUS = 3
DATA_VARIABLE = "MOVIELENS_DATA_DIR"
VARIANTS = ("onnx", "onnx_graph")
PROVIDERS_TRIED = ("cpu", "openvino")
BATCH_SIZES = (1, 64)
SECONDS = 60.0
# Of pyproject.toml, by the package that tells whether this environment has them.
EXTRAS = {
    "onnxruntime": "cpu",
    "onnxruntime-openvino": "openvino",
    "onnxruntime-gpu": "gpu",
    "torch": "train",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = EPILOG
    side = "a git revision, a source tree, a folder of `ssept build --out`, or an ONNX file"
    # Optional for the parser, since the self-test has none.
    parser.add_argument("base", nargs="?", metavar="BASE", help=f"what to compare with: {side}")
    parser.add_argument(
        "head", nargs="?", metavar="HEAD", help="what may have become worse: likewise"
    )
    _add_cells(parser)
    _add_limits(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as Markdown")
    gate_self_test.add_arguments(parser)
    parser.set_defaults(run=_run, error_status=ERROR_STATUS)


def _add_cells(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-k",
        dest="select",
        default="",
        metavar="EXPRESSION",
        help="only cells whose id fits, as 'openvino and not b064'",
    )
    parser.add_argument(
        "--variants",
        type=_names,
        metavar="NAMES",
        help=f"separated by commas (default: {','.join(VARIANTS)}, or those of a folder)",
    )
    parser.add_argument(
        "--providers",
        type=_names,
        metavar="NAMES",
        help=f"separated by commas (default: those of {','.join(PROVIDERS_TRIED)} that run here)",
    )
    parser.add_argument(
        "--batch-sizes", type=positives, default=list(BATCH_SIZES), metavar="SIZES", help="of calls"
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of a call")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="what revisions build their variants from (default: the one of the data)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get(DATA_VARIABLE) or None,
        metavar="DIR",
        help=f"for the accuracy (default: ${DATA_VARIABLE}, or else the embedded synthetic data)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tolerance", default="3%", type=_share, metavar="SHARE", help="how much slower is fine"
    )
    parser.add_argument(
        "--accuracy-tolerance",
        default="0.5%",
        type=_share,
        metavar="SHARE",
        help="how much of the NDCG@10 may be lost",
    )
    parser.add_argument(
        "--size-tolerance",
        default="1%",
        type=_share,
        metavar="SHARE",
        help="how much larger a model file may be",
    )
    parser.add_argument(
        "--budgets",
        type=Path,
        metavar="FILE",
        help="TOML: tolerances for the cells that patterns match",
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help=f"the longest time for a cell, on average (default: {SECONDS:g})",
    )
    parser.add_argument("--no-accuracy", action="store_true", help="compare times and sizes only")
    parser.add_argument(
        "--accuracy-users",
        type=positive,
        metavar="N",
        help="compare the accuracy for so many users only",
    )


def _run(arguments: argparse.Namespace) -> int:
    gate_self_test.check(arguments)
    if arguments.self_test:
        with interrupted_by(signal.SIGTERM):
            return gate_self_test.self_test(arguments)
    if missing := [name for name in ("base", "head") if getattr(arguments, name) is None]:
        names = ", ".join(missing).upper()
        arguments.parser.error(f"the following arguments are required: {names}")
    return _gate(arguments)


def _gate(arguments: argparse.Namespace) -> int:
    from ssept.decide.gate.sides.side import opened
    from ssept.decide.gate.suite import run_suite
    from ssept.report.gate import gate_markdown, gate_table

    try:
        with interrupted_by(signal.SIGTERM), ExitStack() as stack:
            extras = _extras()
            base, head = (
                stack.enter_context(opened(text, extras=extras))
                for text in (arguments.base, arguments.head)
            )
            suite = _suite(arguments, base, head)
            with tqdm(desc="gate", unit="pass", file=sys.stderr, disable=None) as bar:
                result = run_suite(base, head, suite, partial(_show, bar))
            if arguments.json:
                write_json(arguments.json, result.as_json())
            if arguments.markdown:
                with written_file(arguments.markdown) as temporary:
                    temporary.write_text(gate_markdown(result), encoding="utf-8")
            print(gate_table(result))
    except KeyboardInterrupt:
        print("ssept: interrupted before anything was measured", file=sys.stderr)
        return ERROR_STATUS
    return result.exit_code


def _suite(arguments: argparse.Namespace, base: "Side", head: "Side") -> "Suite":
    """What the arguments ask for."""
    from ssept.decide.gate.plan import Plan
    from ssept.decide.gate.suite import Suite

    cells = _cells(arguments, base, head)
    builds = any(side.model is None for side in (base, head))
    folder = None
    if not arguments.no_accuracy or (builds and not arguments.checkpoint):
        folder = prepared(arguments.data_dir) if arguments.data_dir else prepared_synthetic()
    checkpoint: Path | None = arguments.checkpoint
    if builds and folder:
        checkpoint = checkpoint_for(data_hash(folder), folder, checkpoint)
    dataset = load_dataset(folder) if folder and not arguments.no_accuracy else None
    return Suite(
        cells,
        _budgets(arguments),
        Plan(seconds=arguments.seconds or SECONDS),
        checkpoint and checkpoint.resolve(),
        arguments.threads,
        dataset,
        arguments.accuracy_users,
        () if arguments.providers else PROVIDERS_TRIED,
    )


def _cells(arguments: argparse.Namespace, base: "Side", head: "Side") -> list["Cell"]:
    """The cells of all variants, providers and batch sizes that -k takes."""
    from ssept.decide.gate.cells import Cell

    cells = [
        Cell(variant, provider, batch)
        for variant in _variants(arguments, (base, head))
        for provider in arguments.providers or PROVIDERS_TRIED
        for batch in arguments.batch_sizes
    ]
    selected = [cell for cell in cells if chosen(cell.id, arguments.select)]
    if not selected:
        ids = ", ".join(cell.id for cell in cells)
        raise GateError(f"-k {arguments.select!r} takes none of the cells {ids}")
    return selected


def _variants(arguments: argparse.Namespace, sides: Sequence["Side"]) -> list[str]:
    """The variants asked for; else what the sides' models offer."""
    files = [side for side in sides if side.model and side.model.suffix == ".onnx"]
    if len(files) == 1:
        raise GateError(
            f"{files[0].name} is an ONNX file, and the other side is none: give two ONNX files, or "
            "two of revisions, source trees and artifacts folders"
        )
    if files:
        if arguments.variants not in (None, [CUSTOM]):
            raise GateError(f"--variants: an ONNX file has no variants; it is called {CUSTOM}")
        return [CUSTOM]
    if arguments.variants:
        return list(arguments.variants)
    folders = [side.model for side in sides if side.model]
    offered = [variant for folder in folders for variant in read_artifacts(folder)]
    return list(dict.fromkeys(offered)) or list(VARIANTS)


def _budgets(arguments: argparse.Namespace) -> "Budgets":
    from ssept.decide.gate.budgets import Budgets, read_budgets
    from ssept.decide.gate.findings import Measure

    defaults = {
        Measure.LATENCY: arguments.tolerance,
        Measure.NDCG: arguments.accuracy_tolerance,
        Measure.SIZE: arguments.size_tolerance,
    }
    return read_budgets(arguments.budgets, defaults) if arguments.budgets else Budgets(defaults)


def _extras() -> list[str]:
    """The extras that a revision needs here: this onnxruntime, and torch to build with."""
    from ssept.measure.machine import package_versions

    here = package_versions()
    return [extra for package, extra in EXTRAS.items() if package in here]


def _show(bar: "tqdm[NoReturn]", timing: "Timing") -> None:
    """Move the progress bar by a pass, towards the next look."""
    bar.total = next(
        (passes for passes in timing.trials.looks_at if passes >= timing.passes), timing.passes
    )
    bar.set_postfix_str(f"{len(timing.trials.open)} of {len(timing.cells)} cells open")
    bar.update()


def _names(text: str) -> list[str]:
    """Read names separated by commas; whether they are known is for the sides to say."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}: expected names separated by commas")
    return names


def _share(text: str) -> float:
    try:
        return share(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: expected {EXPECTED}") from error
