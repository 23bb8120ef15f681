"""Measures `ssept fleet recommend`: throughput, memory, a kill, and the rows against a session's.

`python -m benchmarks.batch_scoring --out=DIR`, with the options of the model that follow. What was
measured already is not measured again. The histories are made up.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import ssept
from ssept.data.dataset import left_padded
from ssept.decide import journal
from ssept.files import written_file
from ssept.installation import shipped_checkpoint

LONGEST, GROUP, FILE_ROWS, PART = 50, 100_000, 1_000_000, 1_000_000
BATCH, K, CHECK_EVERY = 64, 10, 10
POLL_SECONDS = 1.0


def main() -> None:
    """Measure what `--out` lacks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch_scoring",
        description="Measure `ssept fleet recommend` on made-up histories, on this machine.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; needs 2 GB for 10M rows")
    parser.add_argument("--rows", type=int, default=10_000_000, help="histories")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of one and two workers")
    parser.add_argument("--variant", default="litert_int8_topk")
    parser.add_argument("--provider", default="litert")
    options = parser.parse_args()
    out: Path = options.out
    session = ssept.load(shipped_checkpoint(), variant=options.variant, provider=options.provider)
    items, users = session.artifact.model.items, session.artifact.model.users
    make_histories(out / "histories", options.rows, items, users)
    part = out / "part"
    make_histories(part, min(PART, options.rows), items, users)
    file = out / "batch_scoring.jsonl"
    known = journal.read(file, "batch scoring", lambda record: record["step"])
    done = {record["step"] for record in known}

    def measure(
        step: str, histories: Path, into: str, workers: int, kill_at: float | None = None
    ) -> None:
        if step in done:
            return
        words = [str(histories), str(out / into), f"--workers={workers}", "--address=local"]
        model = [f"--variant={options.variant}", f"--provider={options.provider}", f"-k={K}"]
        found = recommend([*words, *model, f"--batch-size={BATCH}"], out / into, kill_at)
        about = {"step": step, "at": journal.utc_now(), "workers": workers}
        journal.append(file, about | found | journal.provenance())
        print(about | found, flush=True)

    for pair in range(options.pairs):
        for workers in (1, 2) if pair % 2 else (2, 1):  # neither is always the later one
            name = f"pair{pair}_workers{workers}"
            measure(name, part, name, workers)
    measure("killed", out / "histories", "all", 2, kill_at=1 / 3)
    measure("resumed", out / "histories", "all", 2)
    if "checked" not in done:
        found = check(out / "histories", out / "all", session)
        journal.append(file, {"step": "checked"} | found | journal.provenance())
        print(found)


def make_histories(folder: Path, rows: int, items: int, users: int) -> None:
    """Write histories of 1 to `LONGEST` items, in files of `FILE_ROWS` rows."""
    files = range(-(-rows // FILE_ROWS))
    for number in tqdm(files, desc=str(folder), disable=None):
        path = folder / f"{number:03}.parquet"
        if path.exists():
            continue
        random, size = np.random.default_rng(number), min(FILE_ROWS, rows - number * FILE_ROWS)
        ends = np.cumsum(random.integers(1, LONGEST + 1, size), dtype=np.int32)
        offsets = np.concatenate([np.zeros(1, np.int32), ends])
        sequences = pa.array(random.integers(1, items + 1, int(ends[-1])))
        table = pa.table(
            {
                "id": np.arange(size) + number * FILE_ROWS,
                "user": random.integers(1, users + 1, size),
                "sequence": pa.ListArray.from_arrays(pa.array(offsets), sequences),
            }
        )
        folder.mkdir(parents=True, exist_ok=True)
        with written_file(path) as temporary:
            pq.write_table(table, temporary, row_group_size=GROUP)


def recommend(words: list[str], out: Path, kill_at: float | None) -> dict[str, Any]:
    """Run the command, until it ends or has written a part of the files; return its figures.

    Seconds are those of the whole command; `first_s` of it had passed at the first file. Memory is
    the most that all its processes held together at one time (proportional set size, MB).
    """
    before, begun, peak, first = len(written(out)), time.perf_counter(), 0.0, None
    process = subprocess.Popen(
        [sys.executable, "-m", "ssept.cli", "fleet", "recommend", *words], start_new_session=True
    )
    groups = sum(pq.ParquetFile(path).num_row_groups for path in Path(words[0]).iterdir())
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        files = len(written(out))
        if first is None and files > before:
            first = time.perf_counter() - begun
        if kill_at is not None and files >= groups * kill_at:
            family = [*psutil.Process(process.pid).children(recursive=True)]
            os.killpg(process.pid, signal.SIGKILL)
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait()
            break
        time.sleep(POLL_SECONDS)
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)
    seconds, now = time.perf_counter() - begun, written(out)
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in now[before:])
    return {
        "rows": rows,
        "rows_before": sum(pq.ParquetFile(path).metadata.num_rows for path in now) - rows,
        "seconds": seconds,
        "first_s": first,
        "rows_per_s": rows / seconds,
        "peak_mb": peak / 1e6,
    }


def written(out: Path) -> list[Path]:
    """List the whole files of recommendations, the oldest first."""
    return sorted(out.glob("0*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def memory(pid: int) -> float:
    """Return the proportional set size of a process and all below it, in bytes."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def check(histories: Path, out: Path, session: Any) -> dict[str, Any]:
    """Compare each row of one row group in `CHECK_EVERY` with those that a session returns."""
    compared = different = groups = missing = 0
    for number, path in enumerate(sorted(histories.iterdir())):
        source = pq.ParquetFile(path)
        for group in range(source.num_row_groups):
            groups, name = groups + 1, out / f"{number:05}-{group:05}.parquet"
            if not name.exists():
                missing += 1
            elif groups % CHECK_EVERY == 0:
                given, found = source.read_row_group(group), pq.read_table(name)
                assert given.num_rows == found.num_rows
                compared += given.num_rows
                for row in range(0, given.num_rows, BATCH):
                    different += different_rows(
                        given.slice(row, BATCH).to_pydict(),
                        found.slice(row, BATCH).to_pydict(),
                        session,
                    )
    return {"compared": compared, "different": different, "files": groups, "missing": missing}


def different_rows(given: dict[str, Any], found: dict[str, Any], session: Any) -> int:
    """Count the rows of a call that are not those of a session, ids and scores."""
    histories = [np.asarray(each, np.int64) for each in given["sequence"]]
    sequences = left_padded(histories, max(map(len, histories)))
    users = np.asarray(given["user"], np.int64)
    ids, scores = session.recommend(users, sequences, K, exclude=sequences)
    same = np.equal(found["id"], given["id"])
    same &= np.equal(found["ids"], ids).all(axis=1)
    same &= np.equal(np.asarray(found["scores"], np.float32), scores).all(axis=1)
    return int((~same).sum())


if __name__ == "__main__":
    main()
