"""`ssept gate`: compares two versions of the code or of a model."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from ssept.artifacts.manifests import read_artifacts
from ssept.cli.arguments import positive, positives, seconds, share, some_names
from ssept.cli.decide import gate_self_test
from ssept.cli.measuring import add_data_dir
from ssept.cli.onnx_names import add_onnx_names, described
from ssept.cli.parsers import Options
from ssept.data.dataset import data_hash, load_dataset
from ssept.data.prepare import prepared
from ssept.data.synthetic import prepared_synthetic
from ssept.errors import GateError
from ssept.expressions import chosen
from ssept.files import json_text, save_text, write_json
from ssept.files.kinds import is_onnx
from ssept.model.store import checkpoint_for
from ssept.providers import PROVIDERS
from ssept.variants import CUSTOM
from ssept.variants import VARIANTS as KNOWN_VARIANTS

if TYPE_CHECKING:
    from ssept.decide.gate.budgets import Budgets
    from ssept.decide.gate.cells import GateCell
    from ssept.decide.gate.sides.side import Side
    from ssept.decide.gate.suite import Suite
    from ssept.decide.gate.timing import Timing

HELP = "check whether a revision, artifacts folder or ONNX file is slower, less accurate or larger"
EPILOG = (
    "Exit codes: 0 fine; 1 regressed; 2 inconclusive; 3 something could not be measured or "
    "written, which includes every error, wrong arguments and an interruption. The most severe "
    "finding decides the exit code: 1, then 3, 2, 0."
)
EXAMPLES = {
    "compare the working tree with the branch main": "ssept gate main .",
    "compare two ONNX files, and accept 5 % slowdown": (
        "ssept gate old.onnx new.onnx --tolerance=5%"
    ),
    "write a report for a CI job": "ssept gate main . --markdown=gate.md --json=gate.json",
}
VARIANTS = ("onnx", "onnx_graph")
PROVIDERS_TRIED = ("cpu", "openvino")
BATCH_SIZES = (1, 64)
SECONDS = 60.0
# Of pyproject.toml, by the package that shows whether this environment has them.
EXTRAS = {
    "onnxruntime": "cpu",
    "onnxruntime-openvino": "openvino",
    "onnxruntime-gpu": "gpu",
    "torch": "train",
    "ai-edge-litert": "litert",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    side = "a git revision, a source tree, a folder of `ssept build --out`, or an ONNX file"
    # Optional for the parser, since the self-test has none.
    parser.add_argument("base", nargs="?", metavar="BASE", help=f"the reference: {side}")
    parser.add_argument(
        "head", nargs="?", metavar="HEAD", help="the candidate: one of the same kinds"
    )
    _add_cells(parser.add_argument_group("cells"))
    _add_model(parser.add_argument_group("model and data"))
    _add_limits(parser.add_argument_group("tolerances"))
    _add_output(parser.add_argument_group("output"))
    gate_self_test.add_arguments(parser)
    parser.set_defaults(run=_run)


def _add_output(parser: Options) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the report as Markdown"
    )
    parser.add_argument(
        "--attestation",
        type=Path,
        metavar="FILE",
        help="write the verdict as an in-toto statement (test result) about HEAD",
    )
    parser.add_argument(
        "--sign",
        action="store_true",
        help="sign the statement with Sigstore, by the identity of this CI job; FILE is then a "
        "bundle of the statement and its signature",
    )


def _add_cells(parser: Options) -> None:
    parser.add_argument(
        "-k",
        dest="select",
        default="",
        metavar="EXPRESSION",
        help="only cells whose id matches, for example 'openvino and not b064'",
    )
    parser.add_argument(
        "--variants",
        type=some_names,
        metavar="NAMES",
        help="variants, separated by commas "
        f"(default: {','.join(VARIANTS)}, or those of an artifacts folder)",
    )
    parser.add_argument(
        "--providers",
        type=some_names,
        metavar="NAMES",
        help="execution providers, separated by commas "
        f"(default: those of {','.join(PROVIDERS_TRIED)} that run here)",
    )
    parser.add_argument(
        "--base-cell",
        type=_cell,
        metavar="VARIANT-PROVIDER",
        help="run this cell on BASE in place of each selected cell, for example onnx-cpu: "
        "compares cells instead of versions",
    )
    parser.add_argument(
        "--batch-sizes",
        type=positives,
        default=list(BATCH_SIZES),
        metavar="SIZES",
        help="batch sizes, separated by commas",
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="threads of a call"
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help=f"time limit per cell, on average (default: {SECONDS:g})",
    )


def _add_model(parser: Options) -> None:
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint from which revisions build their variants (default: the one of the data)",
    )
    add_onnx_names(parser)
    add_onnx_names(parser, "--head-onnx-names", "the same for HEAD, if its names differ")
    add_data_dir(parser, "data to compare the accuracy on")
    parser.add_argument("--no-accuracy", action="store_true", help="compare only times and sizes")
    parser.add_argument(
        "--accuracy-users",
        type=positive,
        metavar="N",
        help="compare the accuracy for only N users",
    )


def _cell(text: str) -> tuple[str, str]:
    """Read a variant and a provider."""
    variant, _, provider = text.partition("-")
    if variant not in KNOWN_VARIANTS.keys() - {CUSTOM} or provider not in PROVIDERS:
        raise argparse.ArgumentTypeError(
            f"{text!r:.60}: expected a variant and a provider, for example onnx-cpu"
        )
    return variant, provider


def _add_limits(parser: Options) -> None:
    parser.add_argument(
        "--tolerance", default="3%", type=share, metavar="SHARE", help="accepted slowdown"
    )
    parser.add_argument(
        "--accuracy-tolerance",
        default="0.5%",
        type=share,
        metavar="SHARE",
        help="accepted relative loss of NDCG@10",
    )
    parser.add_argument(
        "--size-tolerance",
        default="1%",
        type=share,
        metavar="SHARE",
        help="accepted growth of the model file",
    )
    parser.add_argument(
        "--budgets",
        type=Path,
        metavar="FILE",
        help="TOML file with tolerances for cells, selected by patterns",
    )


def _run(arguments: argparse.Namespace) -> int:
    gate_self_test.check(arguments)
    if arguments.self_test:
        return gate_self_test.self_test(arguments)
    if missing := [name for name in ("base", "head") if getattr(arguments, name) is None]:
        required = ", ".join(missing).upper()
        arguments.parser.error(f"the following arguments are required: {required}")
    return _gate(arguments)


def _gate(arguments: argparse.Namespace) -> int:
    from ssept.decide.gate.sides.side import opened
    from ssept.decide.gate.suite import run_suite
    from ssept.report.attestation import digest_of, identity_token, signed, statement
    from ssept.report.gate import gate_markdown, gate_table

    if arguments.sign and not arguments.attestation:
        raise GateError("--sign: expected --attestation=FILE, the file for the signed verdict")
    token = identity_token() if arguments.sign else ""  # before anything is measured
    with ExitStack() as stack:
        extras = _extras()
        base, head = (
            stack.enter_context(opened(text, extras=extras, onnx_names=names))
            for text, names in (
                (arguments.base, arguments.onnx_names or ""),
                (arguments.head, arguments.head_onnx_names or arguments.onnx_names or ""),
            )
        )
        if instead := arguments.base_cell:
            if base.model and is_onnx(base.model):
                raise GateError(
                    f"--base-cell: {base.name} is an ONNX file, which has no variants; expected a "
                    "folder of `ssept build --out`, a revision or a source tree"
                )
            base = replace(base, instead=instead, name=f"{base.name}, {'-'.join(instead)}")
        suite = _suite(arguments, base, head)
        digests = (
            {"base": digest_of(base), "head": digest_of(head)} if arguments.attestation else {}
        )
        with tqdm(desc="gate", unit="pass", file=sys.stderr, disable=None) as bar:
            result = run_suite(base, head, suite, partial(_show, bar))
        with ExitStack() as reports:  # each is written, also where another cannot be
            reports.callback(lambda: print(gate_table(result)))
            if arguments.markdown:
                reports.callback(lambda: save_text(arguments.markdown, gate_markdown(result)))
            if arguments.json:
                reports.callback(lambda: write_json(arguments.json, result.as_json()))
            if arguments.attestation:
                verdict = statement(result, digests)
                text = signed(verdict, token) if token else json_text(verdict)
                reports.callback(lambda: save_text(arguments.attestation, text))
    return result.exit_code


def _suite(arguments: argparse.Namespace, base: "Side", head: "Side") -> "Suite":
    """Return the suite that the arguments describe."""
    from ssept.decide.gate.plan import GatePlan
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
        budgets=_budgets(arguments),
        plan=GatePlan(seconds=arguments.seconds or SECONDS),
        checkpoint=checkpoint and checkpoint.resolve(),
        threads=arguments.threads,
        dataset=dataset,
        users=arguments.accuracy_users,
        optional=() if arguments.providers else PROVIDERS_TRIED,
    )


def _cells(arguments: argparse.Namespace, base: "Side", head: "Side") -> list["GateCell"]:
    """Return the cells of all variants, providers and batch sizes that -k selects."""
    from ssept.decide.gate.cells import GateCell

    cells = [
        GateCell(variant, provider, batch)
        for variant in _variants(arguments, (base, head))
        for provider in arguments.providers or PROVIDERS_TRIED
        for batch in arguments.batch_sizes
    ]
    selected = [cell for cell in cells if chosen(cell.id, arguments.select)]
    if not selected:
        ids = ", ".join(cell.id for cell in cells)
        raise GateError(f"-k {arguments.select!r} matches none of the cells {ids}")
    return selected


def _variants(arguments: argparse.Namespace, sides: Sequence["Side"]) -> list[str]:
    """Return the variants that were given, or else those of the sides' models."""
    files = [side for side in sides if side.model and is_onnx(side.model)]
    if len(files) == 1:
        raise GateError(
            f"{files[0].name} is an ONNX file, but the other side is not: give two ONNX files, or "
            "two revisions, source trees or artifacts folders"
        )
    if files:
        if arguments.variants not in (None, [CUSTOM]):
            raise GateError(
                f"--variants: an ONNX file has no variants: leave it out, or give {CUSTOM}"
            )
        for side in files:
            described(side.model or Path(), side.onnx_names or None)
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
    """Return the extras that a revision needs here: this onnxruntime, and torch to build with."""
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
