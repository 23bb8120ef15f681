"""The page at `/`, and its routes for titles and histories."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from ssept.serving.catalog.catalog import UNKNOWN_USER, Catalog
from ssept.serving.core.registry import ModelRegistry

FILES = Path(__file__).with_name("static")
INDEX = "index.html"
MOST_ITEMS, MOST_HISTORY, MOST_USERS = 100, 1000, 100
LONGEST_QUERY = 100
# The page loads nothing from elsewhere, and no text can become a script or a style.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, but asked for each time: 304 by the ETag
}


class Item(BaseModel):
    """An item of the catalog."""

    id: int = Field(description="id in the data set")
    title: str | None = Field(description="null if the server has no titles")
    genres: list[str]


class Items(BaseModel):
    """Items that were found, best first."""

    items: list[Item]


class User(BaseModel):
    """A user and what they have seen."""

    user_id: int
    known: bool = Field(description="whether the model was trained with this user")
    total: int = Field(description="number of items in the history")
    history: list[Item] = Field(description="the newest items of the history, the newest last")


class Users(BaseModel):
    """A random sample of the users that the model was trained with."""

    total: int
    user_ids: list[int] = Field(description="a new random sample each time")


def router(registry: ModelRegistry) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["page"])

    @routes.get("/items")
    async def items(
        query: Annotated[
            str,
            Query(
                max_length=LONGEST_QUERY,
                description="prefixes of words of a title in any order, or an item's id",
                examples=["matrix 1999"],
            ),
        ] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = 10,
        id: Annotated[
            list[int] | None,
            Query(
                max_length=MOST_ITEMS,
                description="return these items instead, in this order; unknown ids are left out",
            ),
        ] = None,
    ) -> Items:
        """Find items by title, look them up by id, or list the most popular ones."""
        catalog = registry.models.catalog
        if id is None:
            return Items(items=_described(catalog, catalog.find(query, limit)))
        known = [catalog.items[given] for given in id if given in catalog.items]
        return Items(items=_described(catalog, known))

    @routes.get("/users")
    async def users(limit: Annotated[int, Query(ge=1, le=MOST_USERS)] = 1) -> Users:
        """Draw some users."""
        known = registry.models.catalog.user_ids
        drawn = np.random.default_rng().choice(len(known), min(limit, len(known)), replace=False)
        return Users(total=len(known), user_ids=known[drawn].tolist())

    @routes.get("/users/{user_id}")
    async def user(
        user_id: int, limit: Annotated[int, Query(ge=1, le=MOST_HISTORY)] = MOST_HISTORY
    ) -> User:
        """Return the history of a user."""
        catalog = registry.models.catalog
        place = catalog.users.get(user_id, UNKNOWN_USER)
        history = catalog.history(place)
        newest = history[-min(limit, registry.settings.max_sequence) :].tolist()
        return User(
            user_id=user_id,
            known=place != UNKNOWN_USER,
            total=len(history),
            history=_described(catalog, newest),
        )

    _add_files(routes)
    return routes


def _add_files(routes: APIRouter) -> None:
    """Add the files of the page, which are not part of the API."""
    files = StaticFiles(directory=FILES)

    async def answer(name: str, request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(HEADERS)
        return response

    @routes.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await answer(INDEX, request)

    @routes.get("/static/{name}", include_in_schema=False)
    async def static(name: str, request: Request) -> Response:
        return await answer(name, request)


def _described(catalog: Catalog, items: Iterable[int]) -> list[Item]:
    data, ids = catalog.data, catalog.item_ids
    described = []
    for item in items:
        title = data.titles[item - 1] if data else ""
        genres = data.genres[item - 1] if data else ""
        named = genres.split("|") if genres else []
        described.append(Item(id=int(ids[item]), title=title or None, genres=named))
    return described
