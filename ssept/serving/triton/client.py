"""A client of a Triton server, over HTTP or gRPC, with the answers of an in-process session."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.artifacts import TOPK_IDS, TOPK_SCORES
from ssept.errors import ServerError, SseptError
from ssept.serving.interface import MODEL, SCORES, SEQ, USER_ID
from ssept.serving.triton.addresses import is_local

PROTOCOLS = ("http", "grpc")
NO_LIMIT = (1 << 31) - 1  # bytes of a message, as tritonclient's own options have it
DIRECT_CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", NO_LIMIT),
    ("grpc.max_receive_message_length", NO_LIMIT),
]


class Client:
    """A connection to one model; close it when done.

    Args:
        protocol: "http" or "grpc".
        url: host and port, without a scheme.
        model: its name on the server.

    Raises:
        SseptError: tritonclient is not installed.
    """

    def __init__(self, protocol: str, url: str, model: str = MODEL) -> None:
        try:
            self._library = importlib.import_module(f"tritonclient.{protocol}")
        except (ImportError, RuntimeError) as error:  # the latter is tritonclient's own
            raise SseptError(f"{protocol} needs tritonclient: install the triton extra") from error
        self._where = f"{model} at {protocol} {url}"
        self._model = model
        # gRPC would ask a proxy of the environment for it, even on this machine.
        options = {"channel_args": DIRECT_CHANNEL} if protocol == "grpc" and is_local(url) else {}
        self._client = self._library.InferenceServerClient(url, **options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def scores(self, user: npt.ArrayLike, sequence: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the scores of the whole catalog, float32[B, items + 1]; errors as for `infer`.

        Args:
            user: int64[B].
            sequence: int64[B, L] of the length that the model was written with.
        """
        return self._ask(user, sequence, [SCORES])[SCORES]

    def best(
        self, user: npt.ArrayLike, sequence: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return ids int64[B, k] and scores float32[B, k] of the best items; the file fixes k.

        Args and errors as for `scores`.
        """
        answer = self._ask(user, sequence, [TOPK_IDS, TOPK_SCORES])
        return answer[TOPK_IDS], answer[TOPK_SCORES]

    def infer(
        self, inputs: dict[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Send one request.

        Args:
            inputs: by name, the first axis being the batch.
            outputs: the names of those to send back.

        Raises:
            ServerError: the server refuses it, with its reason, or cannot be reached.
        """
        from tritonclient.utils import InferenceServerException, np_to_triton_dtype

        tensors = []
        for name, array in inputs.items():
            kind = np_to_triton_dtype(array.dtype)
            tensors.append(self._library.InferInput(name, array.shape, kind))
            tensors[-1].set_data_from_numpy(array)
        asked = [self._library.InferRequestedOutput(name) for name in outputs]
        try:
            answer = self._client.infer(self._model, tensors, outputs=asked)
        except InferenceServerException as error:
            raise ServerError(f"{self._where}: {error.message()}") from error
        except OSError as error:
            raise ServerError(f"{self._where}: no answer: {error}") from error
        return {name: answer.as_numpy(name) for name in outputs}

    def _ask(
        self, user: npt.ArrayLike, sequence: npt.ArrayLike, outputs: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        column = np.asarray(user, np.int64)[:, None]
        return self.infer({USER_ID: column, SEQ: np.asarray(sequence, np.int64)}, outputs)
