"""Trials of the studies, kept as they finish, and what they show."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ssept.decide.choose.rule import ERROR
from ssept.decide.gate.findings import interval
from ssept.decide.gate.self_test.rates import Share
from ssept.decide.gate.self_test.scenarios import CONDITIONS
from ssept.decide.gate.self_test.trials import check_hogs, hogs
from ssept.decide.journal import Record, append, provenance, read, utc_now
from ssept.decide.self_test import gate_trials
from ssept.decide.self_test.race_trials import LEAST_STORED, PASSES, resampled_races
from ssept.decide.self_test.studies import STUDIES, Study
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.files import sha256

SCHEMA = 1
# More errors than allowed come up by chance in fewer than this share of self-tests, of each study.
BY_CHANCE = 0.025


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What the trials of a study show, on a machine.

    Attributes:
        study: its name.
        what: a trial, and what counts as an error.
        cpu, cpus: the machine.
        hogs: processes beside it.
        errors: how many trials were wrong.
        allowed: the most errors that the promised level explains.
        half_width: of the intervals, as a share: the median.
        one_session: errors, and the half width, of the former intervals on the same cells.
        verdicts: how many trials had each, where they have one.
    """

    study: str
    what: str
    cpu: str
    cpus: int
    hogs: int
    errors: Share
    allowed: int
    half_width: float | None = None
    one_session: tuple[Share, float] | None = None
    verdicts: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether there are no more errors than allowed."""
        return self.errors.hits <= self.allowed

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {
            "interval": interval(self.errors.estimate()),
            "holds": self.holds,
        }


def file_of(folder: Path, study: str) -> Path:
    """Return the file in a folder of results that has a study's trials."""
    return folder / f"{study}.jsonl"


def run_studies(
    checkpoint: Path,
    wanted: Mapping[str, Study],
    folder: Path,
    progress: Callable[[str, int, int], None],
    *,
    seconds: float,
) -> dict[str, str]:
    """Make trials until each study has its number, also of earlier runs, or the time is over.

    A trial is kept when it is finished: interrupted, all but the one under way are there. A study
    that cannot be made here does not keep the others from it.

    Args:
        checkpoint: that the models are built from.
        wanted: the studies by name.
        folder: of the files of trials.
        progress: called before a study and after each trial, with the study's name, how many
            trials it has and how many are wanted.
        seconds: no trial is begun later than this; infinite for all.

    Returns:
        By study, why it could not be made.

    Raises:
        SseptError: a file of trials is damaged.
    """
    end = time.monotonic() + seconds
    about = _about(checkpoint)
    problems: dict[str, str] = {}
    for name, study in wanted.items():
        path = file_of(folder, name)
        done = sum(_same(record, about) for record in _read(path))
        progress(name, done, study.trials)
        if done >= study.trials:
            continue
        with hogs(study.hogs) as noise:
            while done < study.trials:
                if time.monotonic() > end:
                    return problems
                load_before, start = os.getloadavg()[0], time.monotonic()
                try:
                    found = study.trial(checkpoint, done)
                    check_hogs(noise)
                except SseptError as error:
                    problems[name] = str(error)
                    break
                taken = time.monotonic() - start
                append(path, _record(about, found, load_before, taken))
                done += 1
                progress(name, done, study.trials)
    return problems


def results_in(folder: Path, studies: Iterable[str]) -> list[StudyResult]:
    """Return what a folder's trials of these studies show, by study and machine.

    Raises:
        SseptError: a file is damaged.
    """
    found = []
    for name in studies:
        study = STUDIES[name]
        records = _read(file_of(folder, name))
        for machine in dict.fromkeys(map(_machine, records)):
            here = [record for record in records if _machine(record) == machine]
            # Of the same checkpoint as the last, so that none of another model is counted.
            same = [one for one in here if one["checkpoint"] == here[-1]["checkpoint"]]
            found += _races(same) if name == PASSES else [_result(name, study, same)]
    return found


def gate_results_in(folder: Path) -> list[StudyResult]:
    """Return what the gate's own trials show at tolerance 0, see `gate_trials`.

    Raises:
        SseptError: a file is damaged.
    """
    found = []
    for (name, cpu, cpus), records in gate_trials.identical_code(folder).items():
        judged = {f"gate_{name}": (gate_trials.STORED, gate_trials.stored_alarms(records))}
        if len(records) >= gate_trials.LEAST_STORED:
            alarms = gate_trials.resampled_alarms(records)
            judged[f"gate_{name}_looks"] = gate_trials.ALL_LOOKS, alarms
        found += [
            StudyResult(
                study=study,
                what=what,
                cpu=cpu,
                cpus=cpus,
                hogs=CONDITIONS[name].hogs,
                errors=errors,
                allowed=allowed(errors.of, gate_trials.LEVEL),
            )
            for study, (what, errors) in judged.items()
        ]
    return found


def allowed(trials: int, level: float) -> int:
    """Return the most errors among trials that a true level explains, but for `BY_CHANCE`."""
    return int(stats.binom.isf(BY_CHANCE, trials, level))


def _result(name: str, study: Study, records: Sequence[Record]) -> StudyResult:
    trials = [record["trial"] for record in records]
    cpu, cpus = _machine(records[0])
    errors = Share(sum(trial["wrong"] for trial in trials), len(trials))
    former = [Estimate(**trial["one_session"]) for trial in trials if "one_session" in trial]
    one_session = None
    if former:
        missed = sum(not each.low <= 1 <= each.high for each in former)
        one_session = Share(missed, len(former)), _half_width(former)
    ratios = [Estimate(**trial["ratio"]) for trial in trials if "ratio" in trial]
    return StudyResult(
        study=name,
        what=study.what,
        cpu=cpu,
        cpus=cpus,
        hogs=study.hogs,
        errors=errors,
        allowed=allowed(len(trials), study.level),
        half_width=_half_width(ratios) if ratios else None,
        one_session=one_session,
        verdicts=dict(Counter(trial["verdict"] for trial in trials if "verdict" in trial)),
    )


def _races(records: Sequence[Record]) -> list[StudyResult]:
    """Return what races of stored passes show; nothing where too few are stored."""
    if len(records) < LEAST_STORED:
        return []
    found = resampled_races(records)
    cpu, cpus = _machine(records[0])
    return [
        StudyResult(
            study="race_cells",
            what=found.what,
            cpu=cpu,
            cpus=cpus,
            hogs=0,
            errors=found.errors,
            allowed=allowed(found.errors.of, ERROR),
            verdicts={"one left": found.left_one, "tie": found.errors.of - found.left_one},
        )
    ]


def _half_width(ratios: Sequence[Estimate]) -> float:
    """Return the median half width of intervals of ratios, as a share."""
    return float(np.median([(each.high / each.low) ** 0.5 - 1 for each in ratios]))


def _about(checkpoint: Path) -> Record:
    about = provenance()
    machine = about["machine"]
    return {
        "commit": about["commit"],
        "cpu": machine["cpu"],
        "cpus": machine["cpus_allowed"],
        "packages": machine["packages"],
        "checkpoint": sha256(checkpoint),
    }


def _record(about: Record, trial: Record, load_before: float, seconds: float) -> Record:
    return {
        "schema": SCHEMA,
        "utc": utc_now(),
        **about,
        "load_before": round(load_before, 2),
        "seconds": round(seconds, 2),
        "trial": trial,
    }


def _read(path: Path) -> list[Record]:
    def check(record: Record) -> None:
        _ = record["schema"], record["checkpoint"], _machine(record), record["trial"]["wrong"]

    records = read(path, "a trial", check)
    return [record for record in records if record["schema"] == SCHEMA]


def _same(record: Record, about: Record) -> bool:
    return (*_machine(record), record["checkpoint"]) == (*_machine(about), about["checkpoint"])


def _machine(record: Record) -> tuple[str, int]:
    return record["cpu"], record["cpus"]


def machines(found: Sequence[StudyResult]) -> Iterator[tuple[str, list[StudyResult]]]:
    """Group results by the machine that they are of, named."""
    for cpu, cpus in dict.fromkeys((each.cpu, each.cpus) for each in found):
        yield f"{cpu}, {cpus} CPUs", [e for e in found if (e.cpu, e.cpus) == (cpu, cpus)]
