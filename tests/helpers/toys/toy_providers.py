"""A plugin that adds providers through the public table, one of them as if on a GPU."""

import sys
from dataclasses import dataclass

import numpy as np

from ssept.artifacts import Artifact
from ssept.providers import PROVIDERS, Provider
from ssept.providers.session import Ids, Scores, Session
from tests.helpers.fake_nvml import FakeNvml


@dataclass(frozen=True)
class ToyOptions:
    """Its one option."""

    slope: float = 1.0


class Toy:
    """A provider that is always there and likes large ids."""

    options = ToyOptions()

    def unavailable(self) -> str | None:
        return None

    def load(self, artifact: Artifact, threads: int, options: ToyOptions) -> Session:
        return ToySession(artifact, threads, options)


class ToySession(Session):
    """Scores that rise with the item's id."""

    def __init__(self, artifact: Artifact, threads: int, options: ToyOptions) -> None:
        super().__init__(artifact, threads)
        items = np.arange(artifact.model.items + 1, dtype=np.float32)
        self._row = items * np.float32(options.slope)

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        last = sequence[:, -1:].astype(np.float32)  # answers depend on what is asked
        return self._row + last / len(self._row)

    def placement(self) -> dict[str, int]:
        return {"toy": 1}


toy = Toy()
PROVIDERS["toy"] = Provider("tests.helpers.toys.toy_providers:toy", ("onnx",))
PROVIDERS["toy_gpu"] = Provider("tests.helpers.toys.toy_providers:toy", ("onnx",), nvidia=True)
sys.modules["pynvml"] = FakeNvml()  # type: ignore[assignment]
