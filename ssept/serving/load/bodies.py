"""Request bodies of a load."""

import json
from collections.abc import Iterable
from typing import Any

from ssept.artifacts import TOPK_IDS, TOPK_SCORES
from ssept.providers.session import Ids
from ssept.serving.interface import MODEL, SEQ, USER_ID

TOP_K = 10
INFER_PATH = f"/v2/models/{MODEL}/infer"


def predict_bodies(
    users: Iterable[int], sequences: Iterable[Ids], top_k: int = TOP_K
) -> list[bytes]:
    """Return bodies for `POST /predict`, for these users and the items they have seen."""
    return [
        json.dumps({"user_id": int(user), "sequence": sequence.tolist(), "top_k": top_k}).encode()
        for user, sequence in zip(users, sequences, strict=True)
    ]


def infer_bodies(users: Iterable[int], sequences: Iterable[Ids]) -> list[bytes]:
    """Return bodies for `POST` to INFER_PATH of either server: JSON, the best items alone."""
    outputs = [{"name": TOPK_IDS}, {"name": TOPK_SCORES}]
    return [
        json.dumps(
            {
                "inputs": [_tensor(USER_ID, [int(user)]), _tensor(SEQ, sequence.tolist())],
                "outputs": outputs,
            }
        ).encode()
        for user, sequence in zip(users, sequences, strict=True)
    ]


def _tensor(name: str, ids: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": "INT64", "shape": [1, len(ids)], "data": ids}
