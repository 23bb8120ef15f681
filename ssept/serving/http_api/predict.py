"""`POST /predict`: the best items for a user, in the data set's own ids."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError

from ssept.providers.session import Ids
from ssept.serving.catalog.catalog import UNKNOWN_USER
from ssept.serving.core.batcher import Job, OverloadedError
from ssept.serving.core.engine import Engine
from ssept.serving.core.registry import LoadedModels, ModelRegistry
from ssept.serving.http_api import predict_schema as schema
from ssept.serving.http_api.asgi import JSON_TYPE, Headers, RefusedError, to_json
from ssept.serving.http_api.direct import Answer, Pending, Route, Routes, end
from ssept.serving.http_api.openapi import Invalid, describe
from ssept.serving.http_api.overload import overloaded
from ssept.serving.http_api.predict_schema import (
    BatchPrediction,
    BatchRequest,
    Prediction,
    PredictRequest,
)

PATH, BATCH_PATH = "/predict", "/predict/batch"
ONE: TypeAdapter[PredictRequest] = TypeAdapter(PredictRequest)
MANY: TypeAdapter[BatchRequest] = TypeAdapter(BatchRequest)
BODY = ("body",)
SHOWN_ERRORS = 10  # of a body
COUNTED_ERRORS = 100  # with more, only their number is reported
SHOWN_CHARACTERS = 100
INT64 = np.iinfo(np.int64)

Place = tuple[int | str, ...]
Asked = tuple[Engine, int, Ids, list[Ids] | None]  # engine, user, items, items to leave out


def routes(registry: ModelRegistry) -> Routes:
    """Return the routes that the application calls without FastAPI."""
    return {
        ("POST", path): Route(path, lambda: registry.settings.max_body_bytes, JSON_TYPE, begin)
        for path, begin in (
            (PATH, partial(_begin, registry)),
            (BATCH_PATH, partial(_begin_batch, registry)),
        )
    }


def router(registry: ModelRegistry) -> APIRouter:
    """Return the same routes for FastAPI, with their OpenAPI description."""
    described = APIRouter(tags=["recommendations"])
    made = routes(registry)
    catalog, settings = registry.models.catalog, registry.settings
    wrong: dict[int | str, dict[str, Any]] = {
        422: {"model": Invalid, "description": "A field is invalid, or an item is unknown"},
    }
    best: dict[int | str, dict[str, Any]] = {200: {"model": Prediction}}
    all_best: dict[int | str, dict[str, Any]] = {200: {"model": BatchPrediction}}
    describe(
        described,
        PATH,
        made["POST", PATH].handle,
        name="predict",
        summary="Recommend items to a user\nThe best items first, in the data set's own ids.",
        body={"application/json": schema.one(settings, catalog)},
        answers=best | wrong,
    )
    describe(
        described,
        BATCH_PATH,
        made["POST", BATCH_PATH].handle,
        name="predict_batch",
        summary="Recommend items to several users\nEither all requests are answered, or none.",
        body={"application/json": schema.many(settings, catalog)},
        answers=all_best | wrong,
    )
    return described


def _begin(registry: ModelRegistry, body: bytes, _: Headers) -> Pending:
    """Queue one request; raises RefusedError with what is wrong with it."""
    request = _parsed(ONE, body)
    models = registry.models
    asked = _check(registry, models, request, BODY)
    job = _submit(registry, request, asked)
    return Pending([job], lambda found: Answer(to_json(_prediction(models, asked, found[0]))))


def _begin_batch(registry: ModelRegistry, body: bytes, _: Headers) -> Pending:
    """Queue several; all of them, or none."""
    requests = _parsed(MANY, body).requests
    models = registry.models
    all_asked = [
        _check(registry, models, request, ("body", "requests", index))
        for index, request in enumerate(requests)
    ]
    jobs: list[Job] = []
    firsts: dict[Engine, Job] = {}
    try:
        for request, asked in zip(requests, all_asked, strict=True):
            jobs.append(_submit(registry, request, asked, firsts.get(asked[0])))
            firsts.setdefault(asked[0], jobs[-1])
    except RefusedError:
        end(jobs)
        raise

    def finish(answers: list[Any]) -> Answer:
        pairs = zip(all_asked, answers, strict=True)
        predictions = [_prediction(models, asked, answer) for asked, answer in pairs]
        return Answer(to_json({"predictions": predictions}))

    return Pending(jobs, finish)


def _parsed(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise RefusedError(422, _described(error)) from None


def _described(error: ValidationError) -> list[dict[str, Any]]:
    """Describe what is wrong with a body, briefly however long the body is."""
    count = error.error_count()
    if count > COUNTED_ERRORS:
        return [{"type": "too_many_errors", "loc": BODY, "msg": f"{count} fields are invalid"}]
    found = error.errors(include_url=False, include_context=False)[:SHOWN_ERRORS]
    return [_error((*BODY, *one["loc"]), one["type"], one["msg"], one["input"]) for one in found]


def _error(place: Place, kind: str, message: str, given: Any) -> dict[str, Any]:
    """Return an error in the form of FastAPI's validation errors.

    What was given is left out if it is no plain value, for it can be as long as the body.
    """
    where = [key[:SHOWN_CHARACTERS] if isinstance(key, str) else key for key in place]
    error = {"type": kind, "loc": where, "msg": message}
    if isinstance(given, str):
        error["input"] = given[:SHOWN_CHARACTERS]
    elif given is None or isinstance(given, float) or _is_int64(given):
        error["input"] = given
    return error


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and INT64.min <= value <= INT64.max


def _wrong(place: Place, kind: str, message: str, given: Any) -> RefusedError:
    return RefusedError(422, [_error(place, kind, message, given)])


def _check(
    registry: ModelRegistry, models: LoadedModels, request: PredictRequest, place: Place
) -> Asked:
    """Validate a request, and convert it to the catalog's ids."""
    engine = models.default
    if request.variant is not None:
        if request.variant not in models.engines:
            message = f"this variant is not served; expected one of {', '.join(models.engines)}"
            raise _wrong((*place, "variant"), "unknown_variant", message, request.variant)
        engine = models.engines[request.variant]
    sequence, count, settings = request.sequence, engine.artifact.model.items, registry.settings
    if len(sequence) > settings.max_sequence:
        message = f"{len(sequence)} items; at most {settings.max_sequence} are accepted"
        raise _wrong((*place, "sequence"), "too_long", message, sequence)
    most = min(settings.max_top_k, count)
    if request.top_k > most:
        message = f"at most {most} items are recommended"
        raise _wrong((*place, "top_k"), "less_than_equal", message, request.top_k)
    items = _known_items(models, sequence, place)
    exclude = None
    if request.exclude_seen:
        exclude = [np.unique(items)]
        if request.top_k > count - len(exclude[0]):
            message = f"the sequence leaves only {count - len(exclude[0])} of {count} items"
            raise _wrong((*place, "top_k"), "less_than_equal", message, request.top_k)
    return engine, models.catalog.users.get(request.user_id, UNKNOWN_USER), items, exclude


def _known_items(models: LoadedModels, sequence: Sequence[int], place: Place) -> Ids:
    items = models.catalog.items
    try:
        return np.fromiter(map(items.__getitem__, sequence), np.int64, len(sequence))
    except KeyError:
        index = next(at for at, item in enumerate(sequence) if item not in items)
        message = "the catalog has no item with this id"
        where = (*place, "sequence", index)
        raise _wrong(where, "unknown_item", message, sequence[index]) from None


def _submit(
    registry: ModelRegistry, request: PredictRequest, asked: Asked, first: Job | None = None
) -> Job:
    engine, user, items, exclude = asked
    try:
        return engine.batcher.submit([user], [items], request.top_k, exclude, first)
    except OverloadedError:
        raise overloaded(registry.telemetry, "queue") from None


def _prediction(models: LoadedModels, asked: Asked, answer: Any) -> dict[str, Any]:
    engine, user, _, _ = asked
    ids, best = answer
    return {
        "top_items": models.catalog.item_ids[ids[0]],
        "scores": best[0],
        "model_version": engine.version,
        "known_user": user != UNKNOWN_USER,
    }
