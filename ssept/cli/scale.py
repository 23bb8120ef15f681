"""`ssept scale`: cost as the catalog, the sequences and the batches grow."""

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ssept.cli.arguments import positive, positives, seconds
from ssept.decide.scale.points import AXES, Point, points_around
from ssept.errors import SseptError
from ssept.files import written_file
from ssept.providers import PROVIDERS
from ssept.signals import interrupted_by
from ssept.variants import CUSTOM, VARIANTS

if TYPE_CHECKING:
    from ssept.decide.scale.run import Found, Plan

HELP = "measure cells as the work grows, beside the least possible time of their graphs"
EPILOG = (
    "Each point has models of its own with random weights, which are removed afterwards: 1,000,000 "
    "items take 3 GB of memory and some of disk for a while. Finished points are kept in "
    "OUT/scale.jsonl; run again, the command measures what is missing."
)
AROUND = (Point(10_000, 50, 1), Point(10_000, 50, 64))
ITEMS = (10_000, 100_000, 1_000_000)
LENGTHS = (10, 25, 50, 100, 200)
BATCH_SIZES = (1, 4, 16, 64, 256)
CELL_SECONDS = 8.0
OUT = Path("results/scale")
LISTEN_SECONDS = 0.3
LEAST_ITEMS = 10  # as many as are asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--variants",
        default="onnx",
        metavar="NAMES",
        help="exact names, separated by commas; onnx on cpu, the baseline, is always measured",
    )
    parser.add_argument(
        "--providers", default="cpu", metavar="NAMES", help="exact names, separated by commas"
    )
    axes = (("--items", ITEMS), ("--lengths", LENGTHS), ("--batch-sizes", BATCH_SIZES))
    for option, values in axes:
        parser.add_argument(
            option,
            type=positives,
            default=list(values),
            metavar="NUMBERS",
            help=f"along this axis (default: {','.join(map(str, values))})",
        )
    parser.add_argument(
        "--around",
        type=_points,
        default=list(AROUND),
        metavar="POINTS",
        help="ITEMSxLENGTHxBATCH, separated by commas; from each of them one axis at a time is "
        f"varied (default: {','.join(map(str, AROUND))})",
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of a call")
    parser.add_argument(
        "--cell-seconds",
        type=seconds,
        default=CELL_SECONDS,
        metavar="S",
        help="of a cell's timed loop at a point, and longer where 40 pairs take longer",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help="for scale.jsonl, scale.md and scale.svg (extra report)",
    )
    parser.set_defaults(run=_scale)


def _scale(arguments: argparse.Namespace) -> int:
    from ssept.decide.scale.journal import file_of
    from ssept.report.plot import draw_scale
    from ssept.report.scale import scale_markdown, scale_table

    found = _run(_plan(arguments), file_of(arguments.out))
    for where, why in found.unmeasured.items():
        print(f"ssept: not measured: {where}: {why}", file=sys.stderr)
    if not found.records:
        raise SseptError("nothing was measured")
    print(scale_table(found.records))
    image = arguments.out / "scale.svg"
    drawn: str | None = None
    try:
        if draw_scale(found.records, arguments.around, image):
            drawn = image.name
    finally:  # without a plot, the error comes behind the table
        with written_file(arguments.out / "scale.md") as temporary:
            temporary.write_text(scale_markdown(found.records, drawn), encoding="utf-8")
    return int(bool(found.unmeasured))


def _run(plan: "Plan", path: Path) -> "Found":
    """Measure, with a bar that shows what is being measured."""
    from ssept.decide.scale.run import run_scale
    from ssept.measure.doctor import examine, warnings_of

    for warning in warnings_of(examine(LISTEN_SECONDS)):
        print(f"ssept: {warning}", file=sys.stderr)
    with ExitStack() as stack:
        # A run that is ended removes its models, which an unhandled signal would leave behind.
        stack.enter_context(interrupted_by(signal.SIGTERM))
        bar = stack.enter_context(tqdm(unit="cell", file=sys.stderr, disable=None))

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = total, done
            bar.refresh()

        return run_scale(plan, path, show)


def _plan(arguments: argparse.Namespace) -> "Plan":
    from ssept.decide.scale.run import Plan, cells_of

    variants = _names(
        "--variants", arguments.variants, [name for name in VARIANTS if name != CUSTOM]
    )
    providers = _names("--providers", arguments.providers, [*PROVIDERS])
    values = (arguments.items, arguments.lengths, arguments.batch_sizes)
    points = points_around(arguments.around, dict(zip(AXES, values, strict=True)))
    if points[0].items < LEAST_ITEMS:
        raise SseptError(
            f"{points[0].items} items: expected at least {LEAST_ITEMS}, which are asked for"
        )
    cells, not_applicable = cells_of(variants, providers)
    if not_applicable:
        names = ", ".join(cell.name for cell in not_applicable)
        print(f"ssept: not applicable: {names}", file=sys.stderr)
    return Plan(points, cells, arguments.threads, arguments.cell_seconds)


def _names(option: str, text: str, known: list[str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or set(names) - set(known):
        raise SseptError(f"{option} {text}: expected names out of {', '.join(known)}")
    return names


def _points(text: str) -> list[Point]:
    """Read points ITEMSxLENGTHxBATCH, separated by commas."""
    points = []
    for one in text.split(","):
        sizes = [positive(size.strip()) for size in one.split("x")]
        if len(sizes) != len(AXES):
            raise argparse.ArgumentTypeError(f"{one}: expected ITEMSxLENGTHxBATCH")
        points.append(Point(*sizes))
    return points
