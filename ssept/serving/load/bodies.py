"""Request bodies of a load."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssept.artifacts import TOPK_IDS, TOPK_SCORES
from ssept.data.dataset import Cases, Dataset, left_padded
from ssept.errors import LoadError
from ssept.providers.session import Ids
from ssept.serving.interface import MODEL, SEQ, USER_ID

TOP_K = 10
USERS = 512
INFER_PATH = f"/v2/models/{MODEL}/infer"


def predict_bodies(
    users: Iterable[int], sequences: Iterable[Ids], top_k: int = TOP_K
) -> list[bytes]:
    """Return bodies for `POST /predict`, for these users and the items they have seen."""
    return [
        json.dumps({"user_id": int(user), "sequence": sequence.tolist(), "top_k": top_k}).encode()
        for user, sequence in zip(users, sequences, strict=True)
    ]


def infer_bodies(
    users: Iterable[int],
    sequences: Iterable[Ids],
    outputs: Sequence[str] = (TOPK_IDS, TOPK_SCORES),
) -> list[bytes]:
    """Return bodies for `POST` to INFER_PATH of either server, of one sequence each: JSON.

    Args:
        users, sequences: ids of the catalog, the sequences as long as the model wants them.
        outputs: those that are asked for.
    """
    return [
        json.dumps(
            {
                "inputs": [
                    _tensor(USER_ID, [1, 1], [int(user)]),
                    _tensor(SEQ, [1, len(sequence)], sequence.tolist()),
                ],
                "outputs": [{"name": name} for name in outputs],
            }
        ).encode()
        for user, sequence in zip(users, sequences, strict=True)
    ]


def predict_bodies_of(dataset: Dataset, length: int) -> list[bytes]:
    """Return bodies for `POST /predict` of a data set's users, in its own ids.

    Args:
        dataset: that the server's model was trained on.
        length: items in a sequence, at most.
    """
    users, sequences = longest_histories(dataset.cases("test"), length)
    return predict_bodies(
        dataset.user_ids[users - 1].tolist(), [dataset.item_ids[row - 1] for row in sequences]
    )


def infer_bodies_of(dataset: Dataset, length: int, outputs: Sequence[str]) -> list[bytes]:
    """Return bodies for the Open Inference Protocol, of one sequence each, in the catalog's ids.

    Args:
        dataset: that the server's model was trained on.
        length: of the model's sequences.
        outputs: of the model; the best items are asked for where they are among them, else all.
    """
    users, sequences = longest_histories(dataset.cases("test"), length)
    padded = left_padded(sequences, length)
    best = [name for name in (TOPK_IDS, TOPK_SCORES) if name in outputs]
    return infer_bodies(users.tolist(), [*padded], best or outputs)


def longest_histories(cases: Cases, length: int, users: int = USERS) -> tuple[Ids, list[Ids]]:
    """Return users and the last items that they have seen; catalog ids.

    Those with whole sequences come first, so that each request is as much work as another.

    Args:
        cases: with the histories.
        length: items in a sequence, at most.
        users: how many, at most.
    """
    longest = sorted(range(len(cases)), key=lambda row: -min(len(cases.histories[row]), length))
    chosen = longest[:users]
    return cases.users[chosen], [cases.histories[row][-length:] for row in chosen]


def read_bodies(path: Path) -> list[bytes]:
    """Read the bodies of a file, one JSON value a line.

    Raises:
        LoadError: it cannot be read, has no line, or a line is no JSON.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror}") from error
    bodies = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LoadError(
                f"{path}:{number}: expected a JSON value, the body of a request"
            ) from error
        bodies.append(line)
    if not bodies:
        raise LoadError(f"{path}: no requests in it: expected a JSON value on each line")
    return bodies


def _tensor(name: str, shape: Sequence[int], values: Sequence[int]) -> dict[str, object]:
    return {"name": name, "shape": [*shape], "datatype": "INT64", "data": [*values]}
