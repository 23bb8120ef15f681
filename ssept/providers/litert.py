"""LiteRT, which phones and small boards run: its interpreter with XNNPACK, on the CPU."""

import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssept.artifacts import TOPK_IDS, TOPK_SCORES, Artifact, K, Signature
from ssept.errors import FallbackError, ProviderError, one_line
from ssept.providers.options import NoOptions
from ssept.providers.session import Ids, Scores, Session

XNNPACK, REST = "XNNPACK", "LiteRT"
DELEGATE = "DELEGATE"
LONGEST = 200  # characters of what LiteRT says, in an error
USER, SEQUENCE, SCORES = Signature().user, Signature().sequence, Signature().scores
KEPT = 8  # interpreters, each of one batch size


class LiteRt:
    """LiteRT as a provider of .tflite files."""

    options = NoOptions()

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        if not importlib.util.find_spec("ai_edge_litert"):
            return "LiteRT is not installed: install the litert extra"
        return None

    def load(self, artifact: Artifact, threads: int, options: Any) -> Session:
        """Start a session."""
        del options
        return LiteRtSession(artifact, threads)


class LiteRtSession(Session):
    """A .tflite file with int32 inputs `user` and `sequence` of the longest length.

    An interpreter is made for one batch size, and some of them are kept.
    """

    ties_by_id = True
    compiles_shapes = True
    takes_any_id = False

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact, threads)
        self._interpreters: OrderedDict[int, tuple[Any, dict[str, int], dict[str, int]]]
        self._interpreters = OrderedDict()
        self._interpreter(1)

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        # Behind those of the items are scores of rows that are no item's.
        scores: Scores = self._run(user, sequence, [SCORES])[0]
        return scores[:, : self.artifact.model.items + 1]

    def _head(self, user: Ids, sequence: Ids, k: int, exclude: Ids) -> tuple[Ids, Scores]:
        more = min(k + exclude.shape[1], self.artifact.model.items)
        ids, scores = self._run(user, sequence, [TOPK_IDS, TOPK_SCORES], more)
        ids = ids.astype(np.int64)
        if not exclude.size:
            return ids, scores
        left_out = (ids[:, :, None] == exclude[:, None, :]).any(axis=2)
        kept = np.argsort(left_out, axis=1, kind="stable")[:, :k]
        scores = np.where(left_out, -np.inf, scores).astype(np.float32)
        return np.take_along_axis(ids, kept, axis=1), np.take_along_axis(scores, kept, axis=1)

    def _run(self, user: Ids, sequence: Ids, outputs: Sequence[str], k: int = 1) -> list[Any]:
        batch, length = sequence.shape
        interpreter, inputs, places = self._interpreter(batch)
        if length < self.artifact.model.max_length:
            more = self.artifact.model.max_length - length
            sequence = np.pad(sequence, ((0, 0), (more, 0)))
        given = {USER: user, SEQUENCE: sequence, K: np.array([k])}
        for name, place in inputs.items():
            interpreter.set_tensor(place, given[name].astype(np.int32))
        interpreter.invoke()
        return [interpreter.get_tensor(places[name]) for name in outputs]

    def _interpreter(self, batch: int) -> tuple[Any, dict[str, int], dict[str, int]]:
        """Return that of a batch size, with the places of its inputs and outputs by their names."""
        if batch in self._interpreters:
            self._interpreters.move_to_end(batch)
            return self._interpreters[batch]
        from ai_edge_litert.interpreter import Interpreter

        path = str(self.artifact.path)
        try:
            made = Interpreter(path, num_threads=self.threads)
            inputs = {each["name"]: each["index"] for each in made.get_input_details()}
            made.resize_tensor_input(inputs[USER], [batch])
            length = self.artifact.model.max_length
            made.resize_tensor_input(inputs[SEQUENCE], [batch, length])
            made.allocate_tensors()
        except (ValueError, RuntimeError, KeyError) as error:
            raise ProviderError(
                f"{path}: LiteRT cannot run it: {one_line(str(error), LONGEST)}"
            ) from error
        outputs = {each["name"]: each["index"] for each in made.get_output_details()}
        self._interpreters[batch] = made, inputs, outputs
        if len(self._interpreters) > KEPT:
            self._interpreters.popitem(last=False)
        return self._interpreters[batch]

    def placement(self) -> dict[str, int]:
        """Count the operators that XNNPACK took over, and those that LiteRT runs itself.

        Raises:
            FallbackError: XNNPACK left a layer to LiteRT.
        """
        details = self._interpreter(1)[0]._get_ops_details()  # there is no other way
        operators = [each for each in details if each["op_name"] != DELEGATE]
        delegates = [each for each in details if each["op_name"] == DELEGATE]
        maker = {int(place): each for each in operators for place in each["outputs"]}
        taken: set[int] = set()
        for delegate in delegates:
            outside = {int(place) for place in delegate["inputs"]}
            waiting = [int(place) for place in delegate["outputs"]]
            while waiting:
                place = waiting.pop()
                if place in outside or place not in maker:
                    continue
                operator = maker[place]
                if operator["index"] not in taken:
                    taken.add(operator["index"])
                    waiting += [int(each) for each in operator["inputs"]]
        products = [each for each in operators if each["op_name"] == "FULLY_CONNECTED"]
        left = [each for each in products if each["index"] not in taken]
        if left:
            raise FallbackError(
                f"XNNPACK runs only {len(products) - len(left)} of the {len(products)} layers of "
                f"{self.artifact.path.name}; LiteRT's own kernels would run the others"
            )
        return {XNNPACK: len(taken), REST: len(operators) - len(taken)}


cpu = LiteRt()
