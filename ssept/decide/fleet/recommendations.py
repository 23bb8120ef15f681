"""Recommendations for very many histories, by Ray Data: Parquet in, Parquet out."""

import json
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import Artifact
from ssept.data.dataset import left_padded
from ssept.decide.fleet.cluster import connected, said
from ssept.errors import SseptError
from ssept.files import sha256_json, write_json, written_file
from ssept.providers import PROVIDERS

ABOUT = "about.json"
ID, USER, SEQUENCE = "id", "user", "sequence"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is recommended, and by what.

    Attributes:
        histories: a Parquet file, or a folder of such files, with the columns `id`, of any type,
            `user` (whole numbers) and `sequence` (lists of them, the oldest item first), in the
            ids of the catalog, as `Session.recommend` has them.
        artifact: the model file; each host must be able to read it at this path.
        provider: that runs it, with one thread.
        k: how many items for each row.
        seen: whether items of the history may be recommended too.
        batch: rows in a call.
        workers: sessions over all hosts, each on a CPU of its own.
    """

    histories: Path
    artifact: Artifact
    provider: str
    k: int
    seen: bool
    batch: int
    workers: int


@dataclass(frozen=True)
class Part:
    """A row group of a file of histories, and the file of its recommendations."""

    file: str
    group: int
    rows: int
    out: str


@dataclass(kw_only=True)
class Progress:
    """Rows that are written.

    Attributes:
        total: all rows.
        before: of an earlier run.
        rows, seconds: by host, the seconds of calls alone, over all its sessions.
    """

    total: int
    before: int
    rows: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """All rows so far."""
        return self.before + sum(self.rows.values())


class Recommender:
    """A session in a process of Ray's, which takes a part after another."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._session = PROVIDERS[plan.provider].load(plan.artifact, 1)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write the file of a part; return the host, and how many seconds the calls took."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        part, seconds = Part(**row), 0.0
        source = pq.ParquetFile(part.file)
        schema = pa.schema(
            [
                source.schema_arrow.field(ID),
                pa.field("ids", pa.list_(pa.int64(), self._plan.k)),
                pa.field("scores", pa.list_(pa.float32(), self._plan.k)),
            ]
        )
        with (
            written_file(Path(part.out)) as temporary,
            pq.ParquetWriter(temporary, schema) as writer,
        ):
            for batch in source.iter_batches(
                self._plan.batch, row_groups=[part.group], columns=[ID, USER, SEQUENCE]
            ):
                begun = time.perf_counter()
                ids, scores = self._best(batch)
                seconds += time.perf_counter() - begun
                columns = [
                    batch.column(ID),
                    pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), self._plan.k),
                    pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), self._plan.k),
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        return {"host": socket.gethostname(), "rows": part.rows, "seconds": seconds}

    def _best(self, batch: Any) -> tuple[Any, Any]:
        longest = self._plan.artifact.model.max_length
        histories = [np.asarray(each, np.int64) for each in batch.column(SEQUENCE).to_pylist()]
        length = max(1, *map(len, histories))
        return self._session.recommend(
            np.asarray(batch.column(USER).to_numpy(), np.int64),
            left_padded(histories, min(longest, length)),
            self._plan.k,
            exclude=None if self._plan.seen else left_padded(histories, length),
        )


def recommend_all(
    plan: Plan, out: Path, address: str, show: Callable[[Progress], None]
) -> Progress:
    """Write the recommendations of all rows, a Parquet file for each row group of the histories.

    The rows of a file are in the order of the histories. A file is whole or absent, so that a run
    that was killed goes on with the row groups that have none. Memory does not grow with the rows,
    but with those of a row group, by about 100 bytes each.

    Args:
        plan: what is recommended.
        out: a new or empty folder, or that of an interrupted run of the same plan.
        address: of the cluster, as of `ssept.decide.fleet.cluster`.
        show: is given the progress whenever a part is written.

    Raises:
        SseptError: Ray or a column is missing, a host failed, or the folder holds something else.
    """
    parts = _parts(plan.histories, out)
    _check_folder(plan, parts, out)
    missing = [part for part in parts if not Path(part.out).is_file()]
    for part in missing:  # half of a file, left by a run that was killed
        for half in out.glob(f".{Path(part.out).name}.*.parquet"):
            half.unlink(missing_ok=True)
    total = sum(part.rows for part in parts)
    progress = Progress(total=total, before=total - sum(part.rows for part in missing))
    show(progress)
    if not missing:
        return progress
    with connected(address) as ray:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items(
            [vars(part) for part in missing], override_num_blocks=len(missing)
        ).map(
            Recommender,
            fn_constructor_args=(plan,),
            compute=ray.data.ActorPoolStrategy(size=min(plan.workers, len(missing))),
            num_cpus=1,
        )
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # errors are raised, too
        try:
            for row in rows.iter_rows():
                host = row["host"]
                progress.rows[host] = progress.rows.get(host, 0) + row["rows"]
                progress.seconds[host] = progress.seconds.get(host, 0.0) + row["seconds"]
                show(progress)
        except ray.exceptions.RayError as error:
            raise SseptError(
                f"{out}: not all rows were written: {said(error)}; repeat the command to continue"
            ) from error
    return progress


def _parts(histories: Path, out: Path) -> list[Part]:
    """List the row groups of all files."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise SseptError(
            f"{histories}: reading Parquet files needs {error.name}, which is not installed: "
            "install the fleet extra"
        ) from error
    files = [histories]
    if histories.is_dir():  # less what a writer has not finished, as pyarrow reads folders
        found = sorted(histories.rglob("*.parquet"))
        files = [file for file in found if not file.name.startswith((".", "_"))]
    if not files or not all(file.is_file() for file in files):
        raise SseptError(f"{histories}: no Parquet file: expected one, or a folder of *.parquet")
    parts = []
    for number, file in enumerate(files):
        try:
            about = pq.ParquetFile(file)
        except (OSError, ValueError) as error:  # of pyarrow
            raise SseptError(f"{file}: not a Parquet file: {said(error)}") from error
        if missing := [n for n in (ID, USER, SEQUENCE) if n not in about.schema_arrow.names]:
            raise SseptError(
                f"{file}: has no column {missing[0]}; expected {ID}, {USER} (a whole number) and "
                f"{SEQUENCE} (a list of whole numbers)"
            )
        parts += [
            Part(
                file=str(file.resolve()),
                group=group,
                rows=about.metadata.row_group(group).num_rows,
                out=str((out / f"{number:05}-{group:05}.parquet").resolve()),
            )
            for group in range(about.num_row_groups)
        ]
    return parts


def _check_folder(plan: Plan, parts: Sequence[Part], out: Path) -> None:
    """Make the folder, and note in it what it is for; refuse one of something else."""
    about = {
        "artifact_sha256": plan.artifact.sha256,
        "variant": plan.artifact.variant,
        "provider": plan.provider,
        "k": plan.k,
        "seen": plan.seen,
        "histories": sha256_json([[part.file, part.group, part.rows] for part in parts]),
    }
    path = out / ABOUT
    if path.is_file():
        try:
            same = json.loads(path.read_bytes()) == about
        except ValueError:
            same = False
        if not same:
            raise SseptError(
                f"{out}: contains recommendations of another model file, or for other histories or "
                "options: choose another folder"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SseptError(f"{out}: is not an empty folder, and has no {ABOUT}: choose another one")
    else:
        write_json(path, about)
