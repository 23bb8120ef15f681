"""Saved runs in MLflow: a parent run for each, a child for each cell, and the file itself."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ssept.errors import SseptError, one_line
from ssept.files import sha256
from ssept.report.page.material import Material, labelled
from ssept.report.page.measures import Measure, measures_of
from ssept.results.cells import MatrixRun
from ssept.results.machines import machine

FILE_TAG, PARENT_TAG = "ssept.file_sha256", "mlflow.parentRunId"
COMMIT_TAG = "mlflow.source.git.commit"
REFUSED = re.compile(r"[^\w. /-]")  # in the name of a metric
MOST_METRICS, MOST_PARAMETERS, LONGEST = 1000, 100, 500  # of one request, and characters of a value
# Or else an address where nobody answers is tried for minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
SILENCE = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
Item = TypeVar("Item")


def metric_name(measure: Measure) -> str:
    """Name a figure as MLflow allows it: "latency batch 1/speedup"."""
    return REFUSED.sub("_", f"{measure.measure} {measure.setting}".strip()) + f"/{measure.figure}"


def export(runs: Sequence[MatrixRun], uri: str, experiment: str) -> dict[str, str]:
    """Write saved runs into an experiment; one that is there already is not written again.

    Args:
        runs: of the matrix.
        uri: of the tracking server.
        experiment: its name; made where there is none.

    Returns:
        The id of the parent run of each file, by the file's path.

    Raises:
        SseptError: MLflow is missing, or the server cannot be reached or refuses.
    """
    for name, value in (PATIENCE | SILENCE).items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise SseptError(
            f"MLflow's client needs {error.name}, which is not installed: install the mlflow extra"
        ) from error
    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else client.create_experiment(experiment)
        return {str(run.path): _exported(client, place, run) for run in runs}
    except (MlflowException, OSError) as error:
        raise SseptError(f"--uri={uri}: MLflow: {one_line(str(error), LONGEST)}") from error


def _exported(client: Any, experiment: str, run: MatrixRun) -> str:
    """Write a run; the parent is marked as finished, and found again, only when all is written."""
    digest = sha256(run.path)
    whole = f"tags.`{FILE_TAG}` = '{digest}' and attributes.status = 'FINISHED'"
    if found := client.search_runs([experiment], whole, max_results=1):
        return str(found[0].info.run_id)
    commit = run.content.commit_info
    tags = {FILE_TAG: digest, COMMIT_TAG: commit.id if commit else None}
    tags |= {f"ssept.machine.{name}": value for name, value in machine(run).items()}
    parent = _begun(client, experiment, run, run.path.stem, tags)
    settings = {name: json.dumps(value) for name, value in run.content.ssept.settings.items()}
    _log(client, parent, parameters=settings | run.content.ssept.installed)
    client.log_artifact(parent, str(run.path))
    cells: dict[tuple[str, str, int, str], list[Measure]] = defaultdict(list)
    for each in measures_of(Material(runs=labelled([run]))):
        cells[each.variant, each.provider, each.threads, each.options].append(each)
    for (variant, provider, threads, options), measures in cells.items():
        name = f"{variant}-{provider}"
        child = _begun(client, experiment, run, name, {PARENT_TAG: parent})
        facts = next(
            each for each in run.facts if (each.variant, each.provider) == (variant, provider)
        )
        known = {"variant": variant, "provider": provider, "threads": threads, "options": options}
        known |= {"checkpoint_sha256": facts.checkpoint_sha256, "data_hash": facts.data_hash}
        known |= {"artifact_sha256": facts.artifact_sha256}
        _log(client, child, parameters=known, measures=measures)
        client.set_terminated(child)
    client.set_terminated(parent)
    return parent


def _begun(
    client: Any, experiment: str, run: MatrixRun, name: str, tags: dict[str, str | None]
) -> str:
    known = {key: value[:LONGEST] for key, value in tags.items() if value}
    made = client.create_run(experiment, start_time=_milliseconds(run), tags=known, run_name=name)
    return str(made.info.run_id)


def _milliseconds(run: MatrixRun) -> int | None:
    """Return when a run was saved; None where its file does not say."""
    try:
        return int(1000 * datetime.fromisoformat(run.content.datetime).timestamp())
    except ValueError:
        return None


def _log(
    client: Any, run_id: str, *, parameters: dict[str, Any], measures: Sequence[Measure] = ()
) -> None:
    from mlflow.entities import Metric, Param

    given = [Param(name, str(value)[:LONGEST]) for name, value in parameters.items()]
    for part in _parts(given, MOST_PARAMETERS):
        client.log_batch(run_id, params=part)
    metrics = [
        Metric(metric_name(each) + end, value, 0, 0)
        for each in measures
        for end, value in (("", each.value), (".low", each.low), (".high", each.high))
        if value is not None
    ]
    for some in _parts(metrics, MOST_METRICS):
        client.log_batch(run_id, metrics=some)


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
