"""The model as any of the servers calls it: one ONNX file, one thread of ONNX Runtime's CPU."""

import os

import numpy as np
import numpy.typing as npt
import onnxruntime

Ids = npt.NDArray[np.int64]
NOTHING = np.zeros((1, 0), np.int64)


class Recommender:
    """A session of the ONNX file that the variable MODEL names."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._finds_best = any(one.name == "topk_ids" for one in self._session.get_outputs())

    def best(self, user: int, sequence: list[int], k: int) -> tuple[list[int], list[float]]:
        """Return the k best items and their scores, best first, for ids of the model."""
        inputs = {"user": np.array([user]), "sequence": np.array([sequence])}
        if self._finds_best:
            inputs |= {"k": np.array([k]), "exclude": NOTHING}
            ids, scores = self._session.run(["topk_ids", "topk_scores"], inputs)
            return ids[0].tolist(), scores[0].tolist()
        scores = self._session.run(["scores"], inputs)[0][0]
        ids = np.argsort(-scores[1:])[:k] + 1
        return ids.tolist(), scores[ids].tolist()
