"""A model of the Open Inference Protocol: its metadata, and its answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.artifacts import TOPK_IDS, TOPK_SCORES
from ssept.providers import PROVIDERS
from ssept.providers.session import Ids
from ssept.serving.core.batcher import Job, OverloadedError
from ssept.serving.core.engine import Engine
from ssept.serving.core.registry import ModelRegistry
from ssept.serving.http_api.asgi import Headers
from ssept.serving.http_api.direct import Answer, Pending
from ssept.serving.http_api.overload import overloaded
from ssept.serving.http_api.v2.codec import HEADER_LENGTH, VERSION, ModelCodec
from ssept.serving.http_api.v2.tensors import datatype_of
from ssept.serving.interface import DEFAULT_K, MODEL, SCORES, Tensor, model_interface
from ssept.variants import CUSTOM

SERVER = "ssept"


class V2Model:
    """A variant as a model, whatever engine runs it now.

    Attributes:
        name: of the model: `recommender_model_onnx` for the variant that answers by default, with
            the variant's name behind it for the others.
        variant: its name.
    """

    def __init__(self, registry: ModelRegistry, variant: str) -> None:
        self.variant = variant
        self.name = MODEL if variant == registry.settings.variants[0] else f"{MODEL}_{variant}"
        self._registry = registry
        self._made: tuple[Engine, ModelCodec] | None = None

    @property
    def _engine(self) -> Engine:
        return self._registry.models.engines[self.variant]

    @property
    def codec(self) -> ModelCodec:
        """The codec of the model; a new one after another engine was loaded."""
        engine = self._engine
        if self._made is None or self._made[0] is not engine:
            settings, model = self._registry.settings, engine.artifact.model
            k = min(DEFAULT_K, settings.max_top_k, model.items)
            items = model.items if settings.all_scores else None
            tensors = model_interface(model.max_length, items, k)
            self._made = engine, ModelCodec(self.name, tensors, engine.max_batch)
        return self._made[1]

    def max_bytes(self) -> int:
        """Return the largest size of a body."""
        return min(self.codec.max_bytes, self._registry.settings.max_body_bytes)

    def begin(self, body: bytes, headers: Headers) -> Pending:
        """Queue a request for inference.

        Raises:
            RefusedError: something is wrong with it, or it would wait too long.
        """
        codec = self.codec
        plan, users, sequences = codec.read(body, dict(headers).get(HEADER_LENGTH))

        def finish(answers: list[Any]) -> Answer:
            arrays: dict[str, npt.NDArray[Any]] = {}
            for k, found in zip(plan.calls, answers, strict=True):
                if k is None:
                    arrays[SCORES] = found
                else:
                    arrays[TOPK_IDS], arrays[TOPK_SCORES] = found
            return Answer(*codec.write(plan, arrays))

        return Pending(self._submit(plan.calls, users, sequences), finish)

    def _submit(self, calls: Sequence[int | None], users: Ids, sequences: Ids) -> list[Job]:
        """Queue each of the calls: for the k best items, or for all scores if it is None."""
        engine = self._engine
        model = engine.artifact.model
        if engine.artifact.variant == CUSTOM:  # whose graph may do nothing about unknown ids
            users, sequences = _known(users, model.users), _known(sequences, model.items)
        jobs: list[Job] = []
        try:
            for k in calls:
                first = jobs[0] if jobs else None
                jobs.append(engine.batcher.submit(users, sequences, k, first=first))
        except OverloadedError:
            raise overloaded(self._registry.telemetry, "queue") from None
        return jobs

    def metadata(self) -> dict[str, Any]:
        """Return the names, types and shapes of the inputs and outputs."""
        tensors = self.codec.tensors
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self._platform,
            "inputs": [_metadata(tensor) for tensor in tensors.inputs],
            "outputs": [_metadata(tensor) for tensor in tensors.outputs],
        }

    def config(self) -> dict[str, Any]:
        """Return the configuration: the fields of Triton's that apply here."""
        settings, codec = self._registry.settings, self.codec
        gpu = PROVIDERS[settings.provider].nvidia
        instances = {"kind": "KIND_GPU" if gpu else "KIND_CPU", "count": settings.sessions}
        parameters = {
            "variant": self.variant,
            "provider": settings.provider,
            "model_version": self._engine.version,
        }
        return {
            "name": self.name,
            "platform": self._platform,
            "backend": SERVER,
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": codec.max_batch,
            "input": [_config(tensor) for tensor in codec.tensors.inputs],
            "output": [_config(tensor) for tensor in codec.tensors.outputs],
            "dynamic_batching": {"max_queue_delay_microseconds": 0},
            "instance_group": [{"name": f"{self.name}_0"} | instances],
            "parameters": {name: {"string_value": text} for name, text in parameters.items()},
        }

    def statistics(self) -> dict[str, Any]:
        """Return the statistics of the model since the server started."""
        return self._registry.statistics[self.variant].of_model(self.name, VERSION)

    @property
    def _platform(self) -> str:
        """The runtime and the file format, in Triton's notation."""
        return f"{SERVER}_{self._engine.artifact.format}"


def _known(ids: Ids, last: int) -> Ids:
    """Replace ids outside 0 to the last one by 0."""
    return np.where(ids.view(np.uint64) > last, 0, ids)  # where a negative one is very large


def _metadata(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": datatype_of(tensor), "shape": [-1, *tensor.dims]}


def _config(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": tensor.type, "dims": list(tensor.dims)}
