"""`ssept scale`: cost for growing catalogs, sequences and batches."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import known_names, positive, positives, seconds
from ssept.cli.measuring import progress_bar, warn_of_noise
from ssept.decide.scale.points import AXES, Point, points_around
from ssept.errors import SseptError
from ssept.files import save_text
from ssept.providers import PROVIDERS
from ssept.variants import CUSTOM, VARIANTS

if TYPE_CHECKING:
    from ssept.decide.scale.run import ScalePlan, ScaleResult

HELP = "measure cells for growing catalogs, sequences and batches, beside a lower bound of the time"
EPILOG = (
    "Each point is measured on temporary models with random weights; 1,000,000 items need 3 GB of "
    "memory, and disk space. Finished points are stored in OUT/scale.jsonl; if you run the command "
    "again, it measures only the missing ones."
)
EXAMPLES = {
    "measure the baseline at all default sizes": "ssept scale",
    "measure a variant for two catalogs only": (
        "ssept scale --variants=fused_topk --items=10000,100000"
    ),
    "vary each axis around one point": "ssept scale --around=100000x50x1",
}
AROUND = (Point(10_000, 50, 1), Point(10_000, 50, 64))
ITEMS = (10_000, 100_000, 1_000_000)
LENGTHS = (10, 25, 50, 100, 200)
BATCH_SIZES = (1, 4, 16, 64, 256)
CELL_SECONDS = 8.0
OUT = Path("results/scale")
LEAST_ITEMS = 10  # k of each call


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    cells = parser.add_argument_group("cells")
    cells.add_argument(
        "--variants",
        default="onnx",
        metavar="NAMES",
        help="variants, separated by commas; the baseline, onnx on cpu, is always measured",
    )
    cells.add_argument(
        "--providers",
        default="cpu",
        metavar="NAMES",
        help="execution providers, separated by commas",
    )
    sizes = parser.add_argument_group("sizes")
    axes = (("--items", ITEMS), ("--lengths", LENGTHS), ("--batch-sizes", BATCH_SIZES))
    for option, values in axes:
        sizes.add_argument(
            option,
            type=positives,
            default=list(values),
            metavar="NUMBERS",
            help="values of this axis, separated by commas (default: "
            f"{','.join(map(str, values))})",
        )
    sizes.add_argument(
        "--around",
        type=_points,
        default=list(AROUND),
        metavar="POINTS",
        help="points ITEMSxLENGTHxBATCH, separated by commas; around each, one axis is varied at a "
        f"time (default: {','.join(map(str, AROUND))})",
    )
    cells.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of a call")
    cells.add_argument(
        "--cell-seconds",
        type=seconds,
        default=CELL_SECONDS,
        metavar="S",
        help="length of a cell's timed loop at a point; longer if 40 pairs take longer",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help="folder of scale.jsonl, scale.md and scale.svg (the plot needs the extra report)",
    )
    parser.set_defaults(run=_scale)


def _scale(arguments: argparse.Namespace) -> int:
    from ssept.decide.scale.measured_points import file_of
    from ssept.report.plot import draw_scale
    from ssept.report.scale import scale_markdown, scale_table

    drawable = importlib.util.find_spec("matplotlib") is not None
    if not drawable:  # said before the hours of measuring
        print("ssept: no scale.svg: install the report extra", file=sys.stderr)
    found = _run(_plan(arguments), file_of(arguments.out))
    for where, why in found.unmeasured.items():
        print(f"ssept: not measured: {where}: {why}", file=sys.stderr)
    if not found.records:
        raise SseptError("nothing was measured")
    print(scale_table(found.records))
    image = arguments.out / "scale.svg"
    drawn: str | None = None
    try:
        if drawable and draw_scale(found.records, arguments.around, image):
            drawn = image.name
    finally:  # without a plot, the error comes behind the table
        save_text(arguments.out / "scale.md", scale_markdown(found.records, drawn))
    return int(bool(found.unmeasured))


def _run(plan: "ScalePlan", path: Path) -> "ScaleResult":
    """Measure, with a progress bar."""
    from ssept.decide.scale.run import run_scale

    warn_of_noise()
    with progress_bar("cell") as show:
        return run_scale(plan, path, show)


def _plan(arguments: argparse.Namespace) -> "ScalePlan":
    from ssept.decide.scale.run import ScalePlan, cells_of

    variants = known_names(
        "--variants", arguments.variants, [name for name in VARIANTS if name != CUSTOM]
    )
    providers = known_names("--providers", arguments.providers, [*PROVIDERS])
    values = (arguments.items, arguments.lengths, arguments.batch_sizes)
    points = points_around(arguments.around, dict(zip(AXES, values, strict=True)))
    if points[0].items < LEAST_ITEMS:
        raise SseptError(
            f"{points[0].items} items: expected at least {LEAST_ITEMS}, the k of each call"
        )
    cells, not_applicable = cells_of(variants, providers)
    if not_applicable:
        names = ", ".join(cell.name for cell in not_applicable)
        print(f"ssept: not applicable: {names}", file=sys.stderr)
    return ScalePlan(points, cells, arguments.threads, arguments.cell_seconds)


def _points(text: str) -> list[Point]:
    """Read points ITEMSxLENGTHxBATCH, separated by commas."""
    points = []
    for one in text.split(","):
        sizes = [positive(size.strip()) for size in one.split("x")]
        if len(sizes) != len(AXES):
            raise argparse.ArgumentTypeError(f"{one}: expected ITEMSxLENGTHxBATCH")
        points.append(Point(*sizes))
    return points
