"""A check of our own for Schemathesis, which imports this file."""

import json
from typing import Any

import schemathesis

# A request that fits the description can be refused for what that cannot say.
UNSAID = {"unknown_item", "less_than_equal"}
FLOAT = "int_type"  # to the description 2.0 is an integer


@schemathesis.check
def foreseen(context: Any, response: Any, case: Any) -> None:
    """A valid request for recommendations has them, or the reason why there are none."""
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid and case.method == "POST" and case.path.startswith("/predict"):
        found = json.loads(response.content)
        if response.status_code == 200:
            for one in found.get("predictions", [found]):
                assert len(one["top_items"]) == len(one["scores"]) > 0
        else:
            assert response.status_code == 422
            for error in found["detail"]:
                whole = error["type"] == FLOAT and error["input"].is_integer()
                assert whole or error["type"] in UNSAID
