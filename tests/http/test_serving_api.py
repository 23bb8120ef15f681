"""`/predict` and `/predict/batch`: the model's own answers in the data set's ids, or the reason."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssept
from ssept.providers.session import Session
from ssept.serving.core.registry import LoadedModels, load_models
from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import (
    ITEMS,
    USERS,
    Live,
    item_id,
    live,
    user_id,
    write_checkpoint,
)

MAX_SEQUENCE, MAX_TOP_K, MAX_BODY = 70, 40, 100_000
VARIANTS = ("fused_topk", "onnx")
USER, STRANGER, NO_ITEM = user_id(3), 999_999, 7
HISTORY = [item_id(item) for item in (5, 1, 9, 60)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    return ServerSettings(
        model=write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"),
        variants=VARIANTS,
        max_sequence=MAX_SEQUENCE,
        max_top_k=MAX_TOP_K,
        max_body_bytes=MAX_BODY,
        max_wait_ms=10_000,
        deadline_ms=10_000,
    )


@pytest.fixture(scope="module")
def models(settings: ServerSettings) -> LoadedModels:
    return load_models(settings)


@pytest.fixture(scope="module")
def server(settings: ServerSettings, models: LoadedModels) -> Iterator[Live]:
    with live(settings, models) as server:
        yield server


@pytest.fixture(scope="module")
def sessions(settings: ServerSettings) -> dict[str, Session]:
    return {
        variant: ssept.load(settings.model, variant=variant, provider="cpu") for variant in VARIANTS
    }


def expected(
    session: Session, user: int, items: list[int], k: int, exclude: list[int] | None = None
) -> tuple[list[int], np.ndarray]:
    """What the session recommends, catalog ids in and the data set's ids out."""
    sequence = np.array([items or [0]])
    ids, best = session.recommend([user], sequence, k, [exclude] if exclude else None)
    return [item_id(item) for item in ids[0].tolist()], best[0]


def check(found: dict[str, Any], ids: list[int], best: np.ndarray) -> None:
    assert found["top_items"] == ids
    np.testing.assert_allclose(found["scores"], best, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.parametrize("length", [0, 1, 50, 51, MAX_SEQUENCE])
@pytest.mark.parametrize("k", [1, 10, MAX_TOP_K])
def test_the_answer_is_the_models_own_in_the_data_sets_ids(
    server: Live, sessions: dict[str, Session], variant: str | None, length: int, k: int
) -> None:
    items = np.random.default_rng(length).integers(1, ITEMS + 1, length).tolist()
    request = {"user_id": USER, "sequence": [item_id(item) for item in items], "top_k": k}
    answer = server.post("/predict", request | ({"variant": variant} if variant else {}))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    check(answer.json, *expected(sessions[variant or VARIANTS[0]], 3, items, k))
    assert answer.json["known_user"] is True


def test_ten_items_are_the_default_and_the_version_is_that_of_the_variant(server: Live) -> None:
    versions = server.ask("GET", "/version").json["variants"]
    assert list(versions) == list(VARIANTS)
    assert len(set(versions.values())) == 2
    for variant, version in versions.items():
        body = {"user_id": USER, "sequence": HISTORY, "variant": variant}
        answer = server.post("/predict", body).json
        assert len(answer["top_items"]) == len(answer["scores"]) == 10
        assert answer["model_version"] == version


def test_an_unknown_user_gets_the_average_users_answer_and_is_told(
    server: Live, sessions: dict[str, Session]
) -> None:
    for stranger in (STRANGER, 0, -1, 10**30):
        answer = server.post("/predict", {"user_id": stranger, "sequence": HISTORY}).json
        check(answer, *expected(sessions["fused_topk"], 0, [5, 1, 9, 60], 10))
        assert answer["known_user"] is False


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_seen_is_left_out_if_wanted(
    server: Live, sessions: dict[str, Session], variant: str
) -> None:
    plain = server.post("/predict", {"user_id": USER, "sequence": [], "variant": variant}).json
    # The best ones, twice and far in front of the 50 that the model reads.
    seen = plain["top_items"][:5]
    sequence = seen + seen + [HISTORY[0]] * 55
    places = [(5_000_000_000 - item) // 3 for item in sequence]
    body = {"user_id": USER, "sequence": sequence, "variant": variant, "exclude_seen": True}
    answer = server.post("/predict", body).json
    check(answer, *expected(sessions[variant], 3, places, 10, sorted(set(places))))
    assert not set(answer["top_items"]) & set(sequence)


def test_a_batch_gets_what_each_of_its_requests_would_get_alone(server: Live) -> None:
    random = np.random.default_rng(0)
    requests = []
    for number in range(100):
        items = random.integers(1, ITEMS + 1, random.integers(0, 60)).tolist()
        request = {
            "user_id": user_id(int(random.integers(1, USERS + 1))) if number % 5 else STRANGER,
            "sequence": [item_id(item) for item in items],
            "top_k": int(random.integers(1, 11)),
            "exclude_seen": number % 3 == 0,
        }
        requests.append(request | ({"variant": "onnx"} if number % 7 == 0 else {}))
    batch = server.post("/predict/batch", {"requests": requests})
    assert batch.status == 200
    for request, found in zip(requests, batch.json["predictions"], strict=True):
        alone = server.post("/predict", request).json
        check(found, alone["top_items"], np.array(alone["scores"]))
        assert found["known_user"] == alone["known_user"]
        assert found["model_version"] == alone["model_version"]


GOOD = {"user_id": USER, "sequence": HISTORY}
WRONG = {
    "no user": ({"sequence": []}, ["user_id"], "missing", "required"),
    "text user": (GOOD | {"user_id": "5"}, ["user_id"], "int_type", "integer"),
    "true user": (GOOD | {"user_id": True}, ["user_id"], "int_type", "integer"),
    "float user": (GOOD | {"user_id": 1.5}, ["user_id"], "int_type", "integer"),
    "null user": (GOOD | {"user_id": None}, ["user_id"], "int_type", "integer"),
    "no sequence": ({"user_id": USER}, ["sequence"], "missing", "required"),
    "text sequence": (GOOD | {"sequence": "1 2"}, ["sequence"], "list_type", "array"),
    "text item": (GOOD | {"sequence": [HISTORY[0], "x"]}, ["sequence", 1], "int_type", "integer"),
    "nested item": (GOOD | {"sequence": [[1]]}, ["sequence", 0], "int_type", "integer"),
    "unknown item": (
        GOOD | {"sequence": [*HISTORY, NO_ITEM]},
        ["sequence", 4],
        "unknown_item",
        "the catalog has no item with this id",
    ),
    "padding": (GOOD | {"sequence": [0]}, ["sequence", 0], "unknown_item", "no item with"),
    "huge item": (GOOD | {"sequence": [10**40]}, ["sequence", 0], "unknown_item", "no item with"),
    "minus item": (
        GOOD | {"sequence": [-(2**63)]},
        ["sequence", 0],
        "unknown_item",
        "no item with",
    ),
    "too long": (
        GOOD | {"sequence": HISTORY[:1] * (MAX_SEQUENCE + 1)},
        ["sequence"],
        "too_long",
        f"{MAX_SEQUENCE + 1} items; at most {MAX_SEQUENCE}",
    ),
    "no items": (GOOD | {"top_k": 0}, ["top_k"], "greater_than_equal", "1"),
    "many items": (GOOD | {"top_k": MAX_TOP_K + 1}, ["top_k"], "less_than_equal", f"{MAX_TOP_K}"),
    "huge top_k": (GOOD | {"top_k": 10**30}, ["top_k"], "less_than_equal", f"{MAX_TOP_K}"),
    "float top_k": (GOOD | {"top_k": 2.5}, ["top_k"], "int_type", "integer"),
    "nothing left": (
        {
            "user_id": USER,
            "sequence": [item_id(item) for item in range(1, ITEMS - 4)],
            "top_k": 6,
            "exclude_seen": True,
        },
        ["top_k"],
        "less_than_equal",
        f"only 5 of {ITEMS} items",
    ),
    "flag": (GOOD | {"exclude_seen": "yes"}, ["exclude_seen"], "bool_type", "boolean"),
    "variant": (
        GOOD | {"variant": "torch"},
        ["variant"],
        "unknown_variant",
        "expected one of fused_topk, onnx",
    ),
    "typing error": (GOOD | {"topk": 3}, ["topk"], "extra_forbidden", "not permitted"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_field_is_told_with_its_place_and_the_reason(server: Live, name: str) -> None:
    body, place, kind, message = WRONG[name]
    answer = server.post("/predict", body)
    (detail,) = answer.json["detail"]
    assert answer.status == 422
    assert (detail["loc"], detail["type"]) == (["body", *place], kind)
    assert message in detail["msg"]

    if name not in ("no user", "no sequence"):
        batch = server.post("/predict/batch", {"requests": [GOOD, body]})
        (detail,) = batch.json["detail"]
        assert batch.status == 422
        assert detail["loc"] == ["body", "requests", 1, *place]


@pytest.mark.parametrize("requests", [[], [GOOD] * 257, "x", None])
def test_a_batch_has_one_to_256_requests(server: Live, requests: Any) -> None:
    answer = server.post("/predict/batch", {"requests": requests})
    assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["body", "requests"])


NOT_JSON = {
    "nothing": b"",
    "text": b"user 5",
    "cut": b'{"user_id": 1, "sequence": [1,',
    "not UTF-8": b'{"user_id": 1, "sequence": [], "variant": "\xff\xfe"}',
    "half a pair": b'{"user_id": 1, "sequence": [], "variant": "\\ud800"}',
    "deep": b"[" * 15_000,
    "deep field": b'{"user_id": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b', "sequence": []}',
    "endless number": b'{"sequence": [], "user_id": 1' + b"0" * 20_000 + b"}",
    "NaN": b'{"user_id": NaN, "sequence": []}',
    "infinity": b'{"user_id": 1, "sequence": [], "top_k": Infinity}',
    "array": b"[1, 2]",
    "null": b"null",
}


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_request_is_refused_and_not_sent_back(
    server: Live, name: str, path: str
) -> None:
    answer = server.post(path, NOT_JSON[name])
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"][0] == "body"
    assert len(answer.body) < 500


@pytest.mark.parametrize(
    "body",
    [
        GOOD | {"user_id": "x" * 30_000},
        GOOD | {"x" * 30_000: 1},
        GOOD | {"sequence": ["x"] * 6000},
        GOOD | {f"x{number}": 1 for number in range(3000)},
        GOOD | {"variant": "x" * 30_000},
        GOOD | {"user_id": {"x": ["x" * 30_000]}},
    ],
    ids=["text", "name", "items", "names", "variant", "nested"],
)
def test_the_answer_to_a_long_wrong_body_is_short(server: Live, body: dict[str, Any]) -> None:
    answer = server.post("/predict", body)
    assert answer.status == 422
    assert len(answer.body) < 3000


def test_of_two_fields_of_one_name_the_last_counts(server: Live) -> None:
    body = json.dumps(GOOD)[:-1] + f', "user_id": {STRANGER}}}'
    assert server.post("/predict", body.encode()).json["known_user"] is False


def test_a_top_k_above_the_catalog_is_limited_by_it(
    settings: ServerSettings, tmp_path: Path
) -> None:
    wide = ServerSettings(model=settings.model, variants=("fused_topk",), max_top_k=1000)
    with live(wide) as server:
        answer = server.post("/predict", GOOD | {"top_k": ITEMS})
        assert len(answer.json["top_items"]) == ITEMS
        answer = server.post("/predict", GOOD | {"top_k": ITEMS + 1})
    assert answer.status == 422
    assert f"at most {ITEMS} items" in answer.json["detail"][0]["msg"]


def test_it_says_that_it_works(server: Live) -> None:
    for method in ("GET", "POST"):
        assert server.ask(method, "/test").body == b"it works\n"
    for path in ("/health/live", "/health/ready"):
        assert server.ask("GET", path).status == server.ask("HEAD", path).status == 200
