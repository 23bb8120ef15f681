"""What the page at / asks the server for, and the page's own files."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
import pytest

from ssept.data.dataset import Dataset
from ssept.serving.http_api.page import FILES
from ssept.serving.launch.ssept_serve import running
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.titled import TITLES, titled_copy

SECONDS = 30


@pytest.fixture(scope="module")
def url(
    small_checkpoint: Path, small_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    data = titled_copy(small_folder, folder / "data")
    with running(
        ServerSettings(model=small_checkpoint, data=data), folder / "server.log"
    ) as server:
        yield server.url


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, Message, bytes]:
    try:
        with urlopen(Request(url, headers=headers or {}), timeout=SECONDS) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def json_of(url: str) -> Any:
    status, _, body = get(url)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize(
    ("query", "expected"),
    [("ete lodz", 1), ("lights of harb", 3), ("HARBOUR", 2), ("<B>bold", 4), ("bold none", None)],
)
def test_items_are_found(url: str, query: str, expected: int | None) -> None:
    items = json_of(f"{url}/items?query={quote(query)}&limit=2")["items"]
    if expected is None:
        assert items == []
    else:
        title, genres = TITLES[expected]
        assert items[0] == {"id": expected, "title": title, "genres": genres.split("|")}


def test_items_are_bounded_and_the_popular_ones_first(url: str, small: Dataset) -> None:
    assert len(json_of(f"{url}/items")["items"]) == 10
    seen = Counter(np.concatenate([*small.train, small.val, small.test]).tolist())
    place = {given: at for at, given in enumerate(small.item_ids.tolist(), 1)}
    counts = [seen[place[item["id"]]] for item in json_of(f"{url}/items?limit=100")["items"]]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 100


def test_items_are_looked_up_by_ids(url: str) -> None:
    items = json_of(f"{url}/items?id=5&id=99999&id=2")["items"]
    assert items == [
        {"id": 5, "title": None, "genres": []},
        {"id": 2, "title": TITLES[2][0], "genres": ["Drama"]},
    ]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", f"query={'a' * 101}", "id=x", "&".join(["id=1"] * 101)],
)
def test_wrong_questions_for_items_are_refused(url: str, query: str) -> None:
    status, _, body = get(f"{url}/items?{query}")
    assert status == 422
    (error,) = json.loads(body)["detail"]
    assert error["loc"][1] == query.split("=")[0]


def test_a_user_has_a_history(url: str, small: Dataset) -> None:
    user = json_of(f"{url}/users/7")
    places = np.array([*small.train[6], small.val[6], small.test[6]])
    expected = small.item_ids[places - 1].tolist()
    assert [item["id"] for item in user["history"]] == expected
    assert (user["user_id"], user["known"], user["total"]) == (7, True, len(expected))
    newest = json_of(f"{url}/users/7?limit=3")
    assert newest["history"] == user["history"][-3:]
    assert newest["total"] == len(expected)


@pytest.mark.parametrize("user", [0, -1, 41, 10**30])
def test_an_unknown_user_has_none(url: str, user: int) -> None:
    expected = {"user_id": user, "known": False, "total": 0, "history": []}
    assert json_of(f"{url}/users/{user}") == expected


@pytest.mark.parametrize("path", ["users/x", "users/1.5", "users/1?limit=0", "users?limit=101"])
def test_wrong_questions_for_users_are_refused(url: str, path: str) -> None:
    assert get(f"{url}/{path}")[0] == 422


def test_users_are_drawn(url: str, small: Dataset) -> None:
    answer = json_of(f"{url}/users?limit=100")
    assert answer["total"] == small.users
    assert sorted(answer["user_ids"]) == small.user_ids.tolist()
    assert len(json_of(f"{url}/users")["user_ids"]) == 1


def test_the_description_names_the_answers(url: str) -> None:
    description = json_of(f"{url}/openapi.json")
    for path, model in {"/items": "Items", "/users": "Users", "/users/{user_id}": "User"}.items():
        answer = description["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith(f"/{model}")
    assert "/" not in description["paths"]


def test_the_page_comes_with_all_its_files_and_nothing_from_elsewhere(url: str) -> None:
    status, headers, body = get(f"{url}/")
    assert status == 200
    assert headers.get_content_type() == "text/html"
    page = body.decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"static/page.js", "static/page.css"} <= set(named)
    for path in [name for name in named if name.startswith("static/")]:
        assert get(f"{url}/{path}")[0] == 200, path
    for path in FILES.iterdir():
        assert get(f"{url}/static/{path.name}")[2] == path.read_bytes()
        assert "://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", path.read_text()), path
        assert "innerHTML" not in path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


@pytest.mark.parametrize("path", ["", "static/page.js", "static/page.css"])
def test_files_are_guarded_and_kept(url: str, path: str) -> None:
    _, headers, _ = get(f"{url}/{path}")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"
    status, again, body = get(f"{url}/{path}", {"If-None-Match": headers["etag"]})
    assert (status, body) == (304, b"")
    assert again["content-security-policy"] == policy


@pytest.mark.parametrize(
    "path", ["static/none.js", "static/..%2fpage.py", "static/%2e%2e/page.py", "static/%00"]
)
def test_other_files_are_not_given(url: str, path: str) -> None:
    assert get(f"{url}/{path}")[0] == 404


def test_every_link_of_the_page_leads_somewhere(url: str) -> None:
    _, _, page = get(f"{url}/")
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.decode())
    assert len(links) >= 4
    assert {link: get(f"{url}/{link}")[0] for link in links} == dict.fromkeys(links, 200)
