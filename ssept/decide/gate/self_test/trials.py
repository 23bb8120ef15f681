"""Trials of a self-test: suites of real cells with known right verdicts."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssept.children import isolated
from ssept.decide.gate.cells import GateCell
from ssept.decide.gate.self_test.scenarios import TOLERANCE, Condition
from ssept.decide.gate.self_test.suites import file_of, matching, read, record_of
from ssept.decide.gate.sides.interpreter import HERE, versions
from ssept.decide.gate.sides.side import Side
from ssept.decide.gate.timing import Timing
from ssept.decide.gate.workers.prepare import Prepared, prepare
from ssept.decide.journal import Record, append, provenance
from ssept.errors import GateError
from ssept.files import sha256, sha256_json

HOG = Path(__file__).with_name("cpu_hog.py")
TREE = Path(__file__).parents[4]  # what holds the ssept that is running
HASH_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """The conditions, cells and limits of a self-test.

    Attributes:
        folder: where each condition has its file of finished suites.
        conditions: by name, in the order of trying.
        cells: of each suite.
        checkpoint: that their models are built from.
        seconds: no suite is begun that could end later, counted from the start; infinite for all.
    """

    folder: Path
    conditions: Mapping[str, Condition]
    cells: Sequence[GateCell]
    checkpoint: Path
    seconds: float


def run_self_test(wanted: SelfTest, progress: Callable[[str, int, int], None]) -> None:
    """Try suites until each condition has its number, also of earlier runs, or the time is over.

    Both sides are the code that is running. A suite is kept when it is finished, and then
    whatever happens: interrupted, all but the suite under way is there.

    Args:
        wanted: what to try.
        progress: called at the start of a condition and after each suite, with the condition's
            name, how many suites it has and how many are wanted.

    Raises:
        GateError: the cells cannot be measured here.
        SseptError: a file of suites is damaged.
    """
    end = time.monotonic() + wanted.seconds
    about, checkpoint = _about(), sha256(wanted.checkpoint)
    prepared = None
    for name, condition in wanted.conditions.items():
        path = file_of(wanted.folder, name)
        settings = condition.settings(wanted.cells, checkpoint)
        done = len(matching(read(path), settings, about))
        progress(name, done, condition.suites)
        if done >= condition.suites:
            continue
        prepared = prepared or _prepared(wanted, condition)
        with hogs(condition.hogs) as noise:
            while done < condition.suites:
                if time.monotonic() + condition.seconds * len(wanted.cells) > end:
                    return
                load_before, start = os.getloadavg()[0], time.monotonic()
                timing = _suite(prepared, wanted.cells, condition)
                seconds = time.monotonic() - start
                check_hogs(noise)
                append(path, record_of(timing, settings, about, load_before, seconds))
                done += 1
                progress(name, done, condition.suites)


def _about() -> Record:
    """Return the code and the machine, for each record."""
    about = provenance()
    machine = about["machine"]
    return about | {
        "machine": sha256_json(machine)[:HASH_LENGTH],
        "cpu": machine["cpu"],
        "cpus": machine["cpus_allowed"],
    }


def _prepared(wanted: SelfTest, condition: Condition) -> Prepared:
    side = Side("this code", HERE, TREE, None, versions(HERE))
    pairs = list(dict.fromkeys((cell.variant, cell.provider) for cell in wanted.cells))
    prepared = prepare(
        side, side, pairs, checkpoint=wanted.checkpoint.resolve(), plan=condition.plan()
    )
    problems = prepared.problems | prepared.left_out
    if problems:
        reasons = (f"{'-'.join(each)}: {why}" for each, why in problems.items())
        raise GateError("; ".join(reasons))
    return prepared


def _suite(prepared: Prepared, cells: Sequence[GateCell], condition: Condition) -> Timing:
    """Measure one suite as the gate does."""
    ids = [cell.id for cell in cells]
    timing = Timing(
        prepared,
        cells,
        dict.fromkeys(ids, TOLERANCE),
        condition.plan(),
        dict.fromkeys(ids, condition.extra_work),
    )
    timing.run()
    return timing


@contextmanager
def hogs(number: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run a number of bursty processes on any CPU until the block ends."""
    with ExitStack() as stack:
        started = []
        for _ in range(number):
            # Ctrl-C is for this process, which ends them; if it is killed, the system does.
            hog = subprocess.Popen(  # noqa: S603 - our own program
                isolated(HOG, os.getpid()), start_new_session=True
            )
            stack.callback(hog.wait)
            stack.callback(hog.kill)
            started.append(hog)
        yield started


def check_hogs(noise: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Check that all hogs still run: without one, it was quieter than the condition says.

    Raises:
        GateError: one has ended.
    """
    for hog in noise:
        if hog.poll() is not None:
            raise GateError(
                f"a process that makes noise exited with {hog.returncode}, so the last trial was "
                "discarded; start again"
            )
