"""Request and answer schemas of `/predict`, and their OpenAPI description."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, StrictBool, StrictInt

from ssept.serving.catalog.catalog import UNKNOWN_USER, Catalog
from ssept.serving.settings import ServerSettings

DEFAULT_TOP_K = 10
MOST_REQUESTS = 256  # in a batch
EXAMPLE_ITEMS = 3


class PredictRequest(BaseModel):
    """A user and what they have seen so far."""

    model_config = ConfigDict(extra="forbid")

    user_id: StrictInt = Field(description="id in the data set; may be unknown")
    # Validation stops at the first wrong item.
    sequence: Annotated[list[StrictInt], FailFast()] = Field(
        description="ids of items in the data set, in time order, the newest last; may be empty"
    )
    top_k: StrictInt = Field(DEFAULT_TOP_K, ge=1, description="number of items to recommend")
    exclude_seen: StrictBool = Field(
        False, description="exclude the items of the sequence from the recommendations"
    )
    variant: str | None = Field(
        None, description="a variant that GET /version lists; by default the first"
    )


class Prediction(BaseModel):
    """The best items, best first."""

    top_items: list[int]
    scores: list[float]
    model_version: str
    known_user: bool = Field(
        description="whether the model was trained with this user; if not, the answer is for an "
        "average user"
    )


class BatchRequest(BaseModel):
    """Several requests in one."""

    model_config = ConfigDict(extra="forbid")

    requests: Annotated[list[PredictRequest], FailFast()] = Field(
        min_length=1, max_length=MOST_REQUESTS
    )


class BatchPrediction(BaseModel):
    """The predictions, in the order of the requests."""

    predictions: list[Prediction]


def one(settings: ServerSettings, catalog: Catalog) -> dict[str, Any]:
    """Describe the body of one request for OpenAPI, with the server's limits."""
    user, items = _known(catalog)
    known = {"user_id": user, "sequence": items}
    stranger = {"user_id": max(catalog.users, default=0) + 1, "sequence": items[:1]}
    return {
        "schema": _limited(PredictRequest.model_json_schema(), settings),
        "examples": {
            "best": {"summary": "The ten best items", "value": known},
            "unseen": {
                "summary": "Five items that are not in the sequence",
                "value": known | {"top_k": 5, "exclude_seen": True},
            },
            "new": {"summary": "A user without a history", "value": known | {"sequence": []}},
            "stranger": {"summary": "A user the model does not know", "value": stranger},
        },
    }


def many(settings: ServerSettings, catalog: Catalog) -> dict[str, Any]:
    """Describe the body of a batch request for OpenAPI."""
    user, items = _known(catalog)
    schema = BatchRequest.model_json_schema()
    schema["properties"]["requests"]["items"] = _limited(
        schema.pop("$defs")["PredictRequest"], settings
    )
    value = [{"user_id": user, "sequence": items}, {"user_id": user, "sequence": [], "top_k": 3}]
    return {
        "schema": schema,
        "examples": {"two": {"summary": "Two requests", "value": {"requests": value}}},
    }


def _known(catalog: Catalog) -> tuple[int, list[int]]:
    """Return a user and items that the model knows."""
    return next(iter(catalog.users), UNKNOWN_USER), list(catalog.items)[:EXAMPLE_ITEMS]


def _limited(schema: dict[str, Any], settings: ServerSettings) -> dict[str, Any]:
    fields = schema["properties"]
    fields["sequence"]["maxItems"] = settings.max_sequence
    fields["top_k"]["maximum"] = settings.max_top_k
    fields["variant"]["anyOf"][0]["enum"] = list(settings.variants)
    return schema
