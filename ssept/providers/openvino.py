"""OpenVINO's own runtime, without ONNX Runtime around it."""

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

from ssept.artifacts import TOPK_IDS, TOPK_SCORES, Artifact, model_files
from ssept.errors import FallbackError, ProviderError
from ssept.providers.onnx.session import Feeds, feeds
from ssept.providers.options import tried
from ssept.providers.session import Ids, Scores, Session

MOST_SHAPES = 64  # of the option `reshape`: the least recently used go first
CAPABILITY = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}


@dataclass(frozen=True, kw_only=True)
class OpenVinoOptions:
    """OpenVINO's properties by their own names; INFERENCE_NUM_THREADS is what a session is given.

    The precision is explicit, since OpenVINO computes in bfloat16 wherever the CPU can. One
    stream, since a session holds one infer request, which never runs beside another.

    Attributes:
        device_name: as `compile_model` calls it.
        reshape: compile a model for each shape that comes, with `Model.reshape`, in place of one
            for all: OpenVINO fuses more of it. On the shipped model that was 1.4 times as fast at
            batch 1, 1.2 at 8 and 1.1 at 64 (one thread), at 0.15 s and 14 MB a shape.
    """

    device_name: str = "CPU"
    reshape: bool = tried(False, True)
    INFERENCE_PRECISION_HINT: Literal["f32", "bf16", "f16"] = "f32"
    PERFORMANCE_HINT: Literal["LATENCY", "THROUGHPUT"] = tried("LATENCY", "THROUGHPUT")
    NUM_STREAMS: int = 1
    CACHE_DIR: str | None = None
    ENABLE_CPU_PINNING: bool | None = None
    ENABLE_HYPER_THREADING: bool | None = None
    CPU_DENORMALS_OPTIMIZATION: bool | None = None

    def properties(self, threads: int) -> dict[str, Any]:
        """As `compile_model` takes them."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        own = ("device_name", "reshape")
        return {name: value for name, value in given.items() if name not in own} | {
            "INFERENCE_NUM_THREADS": threads
        }


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO as a provider of ONNX files."""

    options: OpenVinoOptions = OpenVinoOptions()

    def unavailable(self) -> str | None:
        """Why OpenVINO cannot run here in the default precision, or None."""
        if not importlib.util.find_spec("openvino"):
            return "openvino is not installed: install the openvino-native extra"
        device = self.options.device_name
        able = core().get_property(device, "OPTIMIZATION_CAPABILITIES")
        wanted = CAPABILITY[self.options.INFERENCE_PRECISION_HINT]
        if wanted not in able:
            return f"OpenVINO computes no {wanted} on this {device}, only {', '.join(able)}"
        return None

    def load(self, artifact: Artifact, threads: int, options: OpenVinoOptions) -> Session:
        """Start a session on the device and in the precision of the options."""
        return OpenVinoSession(artifact, threads, options)


class OpenVinoSession(Session):
    """An ONNX file compiled by OpenVINO, with one infer request, or one for each shape.

    Inputs are read where they lie, and the scores are copied out once: at batch 1 that took
    202 µs, `infer(inputs, share_inputs=True)` 220 µs, and letting OpenVINO write into a new array
    206 µs (medians, one thread, the shipped model).
    """

    def __init__(self, artifact: Artifact, threads: int, options: OpenVinoOptions) -> None:
        super().__init__(artifact, threads)
        import openvino

        self._tensor = openvino.Tensor
        self._options = options
        self.compiles_shapes = options.reshape
        self.takes_any_id = False
        try:
            self._model = core().read_model(model_files(artifact.path)[0])
            compiled = self._compiled(self._model)
            self._used = _proof(compiled, options)
        except RuntimeError as error:  # all that OpenVINO raises
            raise ProviderError(
                f"OpenVINO does not run {artifact.path.name}: {_last_line(error)}"
            ) from error
        self._any_shape = compiled.create_infer_request()
        self._one_shape = functools.lru_cache(MOST_SHAPES)(self._reshaped)

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        signature = self.artifact.signature
        request = self._inferred(feeds(signature, user, sequence))
        scores: Scores = request.get_tensor(signature.scores).data.copy()
        return scores

    def _head(self, user: Ids, sequence: Ids, k: int, exclude: Ids) -> tuple[Ids, Scores]:
        request = self._inferred(feeds(self.artifact.signature, user, sequence, k, exclude))
        ids, scores = (request.get_tensor(name).data.copy() for name in (TOPK_IDS, TOPK_SCORES))
        return ids, scores

    def _inferred(self, inputs: Feeds) -> Any:
        """Run these inputs; return the infer request."""
        try:
            request = self._any_shape
            if self._options.reshape:
                request = self._one_shape(*((name, array.shape) for name, array in inputs.items()))
            for name, array in inputs.items():
                request.set_tensor(name, self._tensor(array, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise ProviderError(f"OpenVINO does not run {shapes}: {_last_line(error)}") from error
        return request

    def _reshaped(self, *shapes: tuple[str, tuple[int, ...]]) -> Any:
        """Make an infer request of the model for these input shapes only."""
        model = self._model.clone()
        model.reshape({name: list(shape) for name, shape in shapes})
        return self._compiled(model).create_infer_request()

    def _compiled(self, model: Any) -> Any:
        options = self._options
        return core().compile_model(model, options.device_name, options.properties(self.threads))

    def placement(self) -> dict[str, int]:
        """Count the whole graph as one, on the device and in the precision read back from it."""
        return {self._used: 1}


@functools.cache
def core() -> Any:
    """Return OpenVINO's core, one for the process, which is never released.

    The CPU plugin of a core installs a stack for signals, and when released puts back the one that
    it found. Of two cores, the second to go puts back a stack that no longer exists, and the next
    signal, as of Ctrl-C, is a segmentation fault (seen with OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def _proof(compiled: Any, options: OpenVinoOptions) -> str:
    """Read the device and the precision of a compiled model, "OpenVINO CPU f32".

    Raises:
        FallbackError: they are not those asked for. OpenVINO takes another without a word: on a
            CPU without 16-bit floats it computes f16 in bf16 or in f32.
    """
    devices = compiled.get_property("EXECUTION_DEVICES")
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    used = f"OpenVINO {'+'.join(devices)} {precision}"
    asked = f"OpenVINO {options.device_name} {options.INFERENCE_PRECISION_HINT}"
    if used != asked:
        raise FallbackError(f"{asked} was requested, but {used} would run instead")
    return used


def _last_line(error: RuntimeError) -> str:
    """Return the last line of an error; the lines before it name OpenVINO's sources."""
    return [line for line in str(error).splitlines() if line.strip()][-1].strip()


f32 = OpenVino()
bf16 = OpenVino(OpenVinoOptions(INFERENCE_PRECISION_HINT="bf16"))
