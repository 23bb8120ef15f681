"""Golden outputs: a few answers of a checkpoint, kept to notice when an upgrade changes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.errors import ArtifactError
from ssept.files import write_json
from ssept.providers.session import Session

USERS = 32  # the share of the top 10 is a mean over them
TOP_K = 10
SCHEMA = 1
GOLDEN_SUFFIX = ".golden.json"


def golden_path(checkpoint: Path) -> Path:
    """Return the path of a checkpoint's golden outputs, beside the checkpoint."""
    return checkpoint.with_suffix(GOLDEN_SUFFIX)


def write_golden(session: Session, path: Path) -> None:
    """Write what a session recommends to a few made-up users with histories of several lengths.

    Each history goes on with one of the best items for what it has so far. To items without a
    relation to one another, INT8 variants answer less exactly than their budgets say.
    """
    model = session.artifact.model
    random = np.random.RandomState(0)  # a stream that NumPy keeps for ever
    cases = []
    for length in np.linspace(1, model.max_length, USERS).astype(int):
        user = int(random.randint(0, model.users + 1))
        sequence = random.randint(1, model.items + 1, 1).tolist()
        while len(sequence) < length:
            seen = sequence[: model.items - TOP_K]  # of a tiny catalog not all, to leave ten
            following, _ = session.recommend([user], [sequence], TOP_K, [seen])
            sequence.append(int(random.choice(following[0])))
        ids, scores = session.recommend([user], [sequence], TOP_K)
        cases.append(
            {"user": user, "sequence": sequence, "ids": ids[0].tolist()}
            | {"scores": [round(float(score), 6) for score in scores[0]]}
        )
    about = {"checkpoint_sha256": model.checkpoint_sha256, "tools": session.artifact.tools}
    write_json(path, {"schema": SCHEMA, **about, "cases": cases})


def score_error(scores: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Return the largest difference between scores, without those of -inf.

    So an index scores the items that it did not look at. That is no error of a number: the items
    that it should have found are missing from its best.
    """
    scored = ~np.isneginf(scores)
    return float(np.abs(scores - expected)[scored].max(initial=0))


def drift(session: Session, path: Path) -> tuple[float, float]:
    """Measure the distance of a session from the golden outputs.

    Returns:
        the largest difference of the golden items' scores, and the mean share of the golden top
        10 that is still there.

    Raises:
        ArtifactError: the file is of another checkpoint or schema.
    """
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if golden.get("schema") != SCHEMA:
        raise ArtifactError(f"{path}: schema {golden.get('schema')}; this version reads {SCHEMA}")
    if golden["checkpoint_sha256"] != session.artifact.model.checkpoint_sha256:
        raise ArtifactError(
            f"{path}: of another checkpoint than {session.artifact.path.name}; "
            "`ssept golden CHECKPOINT` writes a new one"
        )
    errors, overlaps = [], []
    for case in golden["cases"]:
        scores = session.scores([case["user"]], [case["sequence"]])[0]
        ids, _ = session.recommend([case["user"]], [case["sequence"]], TOP_K)
        errors.append(score_error(scores[case["ids"]], np.array(case["scores"])))
        overlaps.append(len(set(ids[0].tolist()) & set(case["ids"])) / TOP_K)
    return max(errors), float(np.mean(overlaps))
