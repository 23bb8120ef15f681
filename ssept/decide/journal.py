"""Append-only journals of measurements: a line of JSON for each, and its provenance."""

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssept.errors import SseptError
from ssept.git import commit_here
from ssept.measure.machine import fingerprint

Record = dict[str, Any]


def provenance() -> Record:
    """Return the commit of the running code and the machine, in JSON values as when read again."""
    machine: Record = json.loads(json.dumps(fingerprint()))  # lists for tuples
    return {"commit": commit_here(), "machine": machine}


def utc_now() -> str:
    """Return the time, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def append(path: Path, record: Record) -> None:
    """Add a record as a line, on the disk when this returns. A torn record is cut off first.

    Raises:
        SseptError: the last line has no end and does not begin as the record does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    start = line[: line.index(b":") + 1]
    with path.open("ab+") as file:
        file.seek(0)
        content = file.read()
        end = content.rfind(b"\n") + 1
        torn = content[end:]
        if torn[: len(start)] != start[: len(torn)]:
            raise SseptError(f"{path}: its last line is not a record: move the file away")
        file.truncate(end)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, what: str, check: Callable[[Record], object]) -> list[Record]:
    """Return the records of a file; none without the file. A torn last line is left out.

    Args:
        path: the file.
        what: the kind of measurement, for the message.
        check: raises ValueError, TypeError or KeyError for a value that is no such record.

    Raises:
        SseptError: another line is no record.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # the last has no end
        try:
            record = json.loads(line)
            check(record)
        except (ValueError, TypeError, KeyError) as error:
            raise SseptError(
                f"{path}:{number}: is not a record of {what}: move the file away, or remove "
                "the line"
            ) from error
        records.append(record)
    return records
