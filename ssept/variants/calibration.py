"""What a calibrated variant is calibrated on: training sequences, and nothing of the targets."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import Model
from ssept.data.dataset import Dataset, Ids, data_hash, left_padded, load_dataset
from ssept.data.prepare import prepared
from ssept.data.synthetic import prepared_synthetic
from ssept.errors import DataError

SEQUENCES = 512
SEED = 0


@dataclass(frozen=True)
class Calibration:
    """Inputs whose activations set the ranges of a quantized model, or the reach of an index.

    Attributes:
        user: catalog user ids, int64[n].
        sequence: the end of each one's training history, padded on the left, int64[n, L].
    """

    user: Ids
    sequence: Ids

    @property
    def sha256(self) -> str:
        """The hash of both arrays."""
        return hashlib.sha256(self.user.tobytes() + self.sequence.tobytes()).hexdigest()


def calibration_of(
    dataset: Dataset, length: int, count: int = SEQUENCES, seed: int = SEED
) -> Calibration:
    """Draw the ends of training histories of random users, of all users if they are few.

    Args:
        dataset: only its training histories are read.
        length: of the sequences, in items.
        count: how many users to draw, without repetition.
        seed: of the draw, which is the same with every version of NumPy (RandomState is frozen).
    """
    with_history = np.flatnonzero([len(history) > 0 for history in dataset.train])
    count = min(count, len(with_history))
    drawn = np.random.RandomState(seed).choice(with_history, count, replace=False)
    users = np.sort(drawn).astype(np.int64)
    return Calibration(users + 1, left_padded([dataset.train[user] for user in users], length))


def calibration_key(model: Model, data: Path | None, variant: str) -> dict[str, Any]:
    """Return what decides a model's calibration, without reading the data.

    So a file that was calibrated once is found again where the data are not at hand.

    Args:
        model: which is to be calibrated; only where it does not say what it was trained on is
            `data` asked.
        data, variant: as for `calibration_for`.

    Raises:
        DataError: nothing says which data the model was trained on.
    """
    return {
        "data_hash": model.data_hash or data_hash(_folder(model, data, variant)),
        "sequences": SEQUENCES,
        "seed": SEED,
        "length": model.max_length,
    }


def calibration_for(model: Model, data: Path | None, variant: str) -> Calibration:
    """Draw the calibration of a model from the data that it was trained on.

    Args:
        model: which is to be calibrated.
        data: where its data are, prepared or raw; the embedded data need no telling.
        variant: which variant is to be built, for the messages.

    Raises:
        DataError: the data are not given, cannot be read, or are not the model's.
    """
    folder = _folder(model, data, variant)
    dataset = load_dataset(folder)
    if (dataset.users, dataset.items) != (model.users, model.items):
        raise DataError(
            f"{folder}: has {dataset.users} users and {dataset.items} items, and "
            f"{model.checkpoint} knows {model.users} and {model.items}; it was not trained on them"
        )
    return calibration_of(dataset, model.max_length)


def _folder(model: Model, data: Path | None, variant: str) -> Path:
    """Find the prepared folder of the data that the model was trained on."""
    if data is None and model.data_name.startswith("synthetic"):
        folder = prepared_synthetic()
        if data_hash(folder) == model.data_hash:
            return folder
    trained_on = f"{model.data_name} ({model.data_hash[:12] or 'no hash'})"
    if data is None:
        later = (
            "the cache has it from then on"
            if model.data_hash
            else "load it from there, since the checkpoint does not name its data"
        )
        out = "" if model.data_hash else " --out FOLDER"
        raise DataError(
            f"{variant} is calibrated on the training sequences of {model.checkpoint}'s data, "
            f"{trained_on}; build it once with `ssept build --checkpoint FILE --variants {variant} "
            f"--data DIR{out}` (pytest: --data-dir=DIR; Python: build(…, data=DIR)), and {later}; "
            "or copy the file that was built where they are"
        )
    folder = prepared(data)
    if model.data_hash not in ("", data_hash(folder)):
        raise DataError(
            f"{data}: {variant} is calibrated on what {model.checkpoint} was trained on, "
            f"{trained_on}; these are other data ({data_hash(folder)[:12]})"
        )
    return folder
