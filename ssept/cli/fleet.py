"""`ssept fleet`: the matrix on each kind of host of a Ray cluster."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ssept.cli.arguments import positive, seconds
from ssept.cli.parsers import add_command
from ssept.errors import SseptError
from ssept.installation import PACKAGE, is_clone, shipped_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from ssept.decide.fleet.run import HostResult

HELP = "use a Ray cluster: measure on each kind of host, or compute recommendations for all users"
RUN_HELP = "run the matrix on each kind of host of a Ray cluster"
RUN_EPILOG = (
    "HOSTS is a TOML file with a table for each kind of host. The name of the table is the name of "
    "a Ray resource, as in `ray start --resources='{\"c7i\": 1}'`. Its fields "
    "are optional: options "
    "(additional options of the matrix), python (an interpreter on the host with the packages), "
    "cpus (the number of CPUs that the matrix may use), runtime_env (Ray's runtime environment). "
    "Each host runs one matrix at a time. Results are written to a folder of DIR for each kind of "
    "host as soon as they are measured; a repeated command continues from them. Exit code: 0 if "
    "every matrix passed, 1 if one failed, 3 if one could not be completed."
)
RECOMMEND_HELP = "compute recommendations for large numbers of histories, and write Parquet files"
RECOMMEND_EPILOG = (
    "HISTORIES has one row per history: id, user, and sequence (a list of items, the oldest "
    "first), with the ids of the catalog. OUT gets one row per history: id, and the ids and scores "
    "that ssept.load(...).recommend returns. If a run is stopped, the same command continues it "
    "with the next row group. The files must have the same path on every host."
)
EXAMPLES = {
    "measure on each kind of host": "ssept fleet run hosts.toml",
    "compute recommendations on this machine": (
        "ssept fleet recommend histories.parquet out --address=local"
    ),
}
RUN_EXAMPLES = {
    "measure on each kind of host": "ssept fleet run hosts.toml",
    "pass options to every matrix": (
        "ssept fleet run hosts.toml --matrix='--quick --variants=onnx,fused_topk'"
    ),
    "use the cluster at an address": "ssept fleet run hosts.toml --address=head.example:6379",
}
RECOMMEND_EXAMPLES = {
    "use 8 sessions on the cluster of this machine": (
        "ssept fleet recommend histories.parquet out --workers=8"
    ),
    "use this machine alone, and another variant": (
        "ssept fleet recommend histories out --address=local --variant=fused_int8_topk"
    ),
}
OUT = Path("results/fleet")
PATIENCE_S = 120.0
PASSED, FAILED, LOST = 0, 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(add_command(commands, "run", RUN_HELP, RUN_EXAMPLES, RUN_EPILOG))
    _add_recommend(
        add_command(commands, "recommend", RECOMMEND_HELP, RECOMMEND_EXAMPLES, RECOMMEND_EPILOG)
    )


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        default="auto",
        metavar="ADDRESS",
        help="address of the Ray cluster: HOST:PORT or ray://HOST:PORT; auto: the cluster that "
        "runs on this machine; local: start a cluster on this machine for this command only",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", type=Path, metavar="HOSTS", help="TOML file of the kinds of hosts")
    parser.add_argument(
        "--matrix",
        type=shlex.split,
        default=[],
        metavar="OPTIONS",
        help="options for every matrix, as one quoted string: "
        "--matrix='--quick --variants=onnx,fused_topk'",
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--patience",
        type=seconds,
        default=PATIENCE_S,
        metavar="SECONDS",
        help="give up a kind of host when the cluster has no node of it for this time",
    )
    _add_address(parser)
    parser.set_defaults(run=_run)


def _add_recommend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "histories",
        type=Path,
        metavar="HISTORIES",
        help="Parquet file, or folder of Parquet files, with the columns id, user and sequence",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the recommendations")
    _add_address(parser)
    model = parser.add_argument_group("model")
    model.add_argument(
        "--checkpoint",
        type=Path,
        default=shipped_checkpoint(),
        metavar="FILE",
        help="checkpoint, folder of `ssept build --out`, or ONNX file",
    )
    model.add_argument("--variant", default="fused_topk", metavar="NAME", help="variant to run")
    model.add_argument("--provider", default="cpu", metavar="NAME", help="provider to run it on")
    parser.add_argument("-k", type=positive, default=10, metavar="K", help="items per history")
    parser.add_argument(
        "--seen", action="store_true", help="also recommend items that are in the history"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=64, metavar="N", help="histories per call"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="number of sessions; each uses one CPU",
    )
    parser.set_defaults(run=_recommend)


def _recommend(arguments: argparse.Namespace) -> int:
    from ssept.decide.fleet.recommendations import Plan, Progress, recommend_all
    from ssept.providers import load

    session = load(arguments.checkpoint, arguments.variant, arguments.provider)
    plan = Plan(
        histories=arguments.histories,
        artifact=session.artifact,
        provider=arguments.provider,
        k=arguments.k,
        seen=arguments.seen,
        batch=arguments.batch_size,
        workers=arguments.workers,
    )
    with tqdm(unit="row", unit_scale=True, file=sys.stderr, disable=None) as bar:

        def show(progress: Progress) -> None:
            bar.total, bar.n, bar.initial = progress.total, progress.done, progress.before
            bar.refresh()

        found = recommend_all(plan, arguments.out, arguments.address, show)
    print(f"{found.done:,} rows in {arguments.out}, {found.before:,} of them by an earlier run")
    for host, rows in found.rows.items():
        rate = rows / found.seconds[host]
        print(f"{host}: {rows:,} rows, {rate:,.0f} rows/s in the calls of one session")
    return PASSED


def _run(arguments: argparse.Namespace) -> int:
    from ssept.decide.fleet.hosts import read_hosts
    from ssept.decide.fleet.run import run_fleet

    if not is_clone():
        raise SseptError(
            "`ssept fleet run` needs the benchmarks, which are not part of a wheel: run "
            "it in a clone"
        )
    with tqdm(unit="test", file=sys.stderr, disable=None) as bar:
        results = run_fleet(
            read_hosts(arguments.hosts),
            options=arguments.matrix,
            clone=PACKAGE.parent,
            out=arguments.out,
            address=arguments.address,
            patience_s=arguments.patience,
            show=lambda found: _show(bar, found),
        )
    _report(results)
    if any(result.code is None for result in results):
        return LOST
    return FAILED if any(result.code for result in results) else PASSED


def _show(bar: "tqdm[NoReturn]", results: "Sequence[HostResult]") -> None:
    bar.total = sum(max(result.tests, result.done) for result in results) or None
    bar.n = sum(result.done for result in results)
    states = [f"{each.kind} {each.done}/{each.tests or '?'}" for each in results]
    bar.set_postfix_str(", ".join(states))


def _report(results: "Sequence[HostResult]") -> None:
    """Print what became of each kind, and the choice over all of them."""
    from ssept.decide.choose import Goal, Promises
    from ssept.decide.choose.candidates import DEFAULT_LOSS
    from ssept.decide.choose.everywhere import everywhere
    from ssept.report.everywhere import everywhere_text
    from ssept.results.files import read_matrix_run

    for each in results:
        said = each.fault or (f"exit code {each.code}, {each.log}" if each.code else "passed")
        times = "once" if each.lost == 1 else f"{each.lost} times"
        lost = f", restarted {times} on another node" if each.lost else ""
        print(f"{each.kind}: {each.done} tests measured, {said}{lost}: {each.file or 'no file'}")
    files = [result.file for result in results if result.file]
    if len(files) < 2:
        return
    runs = [read_matrix_run(file) for file in files]
    try:
        found = everywhere(runs, Goal.LATENCY, Promises(max_accuracy_loss=DEFAULT_LOSS))
    except SseptError as error:
        print(f"no choice over all hosts: {error}")
        return
    print(f"\n{everywhere_text(found)}")
