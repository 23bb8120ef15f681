"""Request bodies of a load."""

import json
from collections.abc import Iterable

from ssept.providers.session import Ids

TOP_K = 10


def predict_bodies(
    users: Iterable[int], sequences: Iterable[Ids], top_k: int = TOP_K
) -> list[bytes]:
    """Return bodies for `POST /predict`, for these users and the items they have seen."""
    return [
        json.dumps({"user_id": int(user), "sequence": sequence.tolist(), "top_k": top_k}).encode()
        for user, sequence in zip(users, sequences, strict=True)
    ]
