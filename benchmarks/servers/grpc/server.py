"""The Open Inference Protocol over gRPC, with the engine of `ssept serve`: PORT.

It exists to be measured: `ssept serve` answers over HTTP alone. The environment says what is
served, as for `uvicorn ssept.serving.app:app`.
"""

import sys
from typing import Any

import grpc
import numpy as np
import uvloop
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from ssept.serving.core.registry import ModelRegistry
from ssept.serving.http_api.v2.model import V2Model
from ssept.serving.interface import DEFAULT_K, USER_ID
from ssept.serving.settings import from_environment

Output = messages.ModelInferResponse.InferOutputTensor


class Servicer(GRPCInferenceServiceServicer):
    """Answers with the best items; what is asked for beside that is answered as over HTTP."""

    def __init__(self, registry: ModelRegistry, model: V2Model) -> None:
        self._registry = registry
        self._model = model

    async def ServerReady(self, *_: Any) -> Any:
        return messages.ServerReadyResponse(ready=True)

    async def ModelReady(self, *_: Any) -> Any:
        return messages.ModelReadyResponse(ready=True)

    async def ServerMetadata(self, *_: Any) -> Any:
        return messages.ServerMetadataResponse(name="ssept", extensions=["statistics"])

    async def ModelMetadata(self, *_: Any) -> Any:
        return ParseDict(self._model.metadata(), messages.ModelMetadataResponse())

    async def ModelConfig(self, *_: Any) -> Any:
        return ParseDict({"config": self._model.config()}, messages.ModelConfigResponse())

    async def ModelStatistics(self, *_: Any) -> Any:
        found = {"model_stats": [self._model.statistics()]}
        return ParseDict(found, messages.ModelStatisticsResponse())

    async def ModelInfer(self, request: Any, _: Any) -> Any:
        """Answer a request whose data are bytes: int64[n, 1] users and int64[n, L] sequences."""
        users, sequences = request.raw_input_contents
        if request.inputs[0].name != USER_ID:
            users, sequences = sequences, users
        ids = np.frombuffer(users, np.int64)
        rows = np.frombuffer(sequences, np.int64).reshape(len(ids), -1)
        job = self._registry.models.default.batcher.submit(ids, rows, DEFAULT_K)
        items, scores = await job.answer
        items = items.astype(np.int64, copy=False)
        return messages.ModelInferResponse(
            id=request.id,
            model_name=self._model.name,
            outputs=[
                Output(name="topk_ids", datatype="INT64", shape=items.shape),
                Output(name="topk_scores", datatype="FP32", shape=scores.shape),
            ],
            raw_output_contents=[items.tobytes(), scores.tobytes()],
        )


async def main(port: int) -> None:
    """Answer until the process is ended; several may share a port."""
    settings = from_environment()
    registry = ModelRegistry(settings)
    await registry.start()
    server = grpc.aio.server()
    model = V2Model(registry, settings.variants[0])
    add_GRPCInferenceServiceServicer_to_server(Servicer(registry, model), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
