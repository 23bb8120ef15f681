"""ONNX Runtime's execution providers, each of which runs the whole graph or refuses it."""

import importlib.util
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssept.artifacts import Artifact, Signature
from ssept.errors import FallbackError, ProviderError
from ssept.providers.session import Ids, Scores, Session
from ssept.variants import ONNXRUNTIME_DISTRIBUTIONS


@dataclass(frozen=True)
class OnnxRuntime:
    """One execution provider of ONNX Runtime.

    Attributes:
        name: ONNX Runtime's name for it.
        extra: the extra of this project that installs it.
        options: the provider's own options; "{threads}" stands for the thread count.
    """

    name: str
    extra: str
    options: dict[str, str] = field(default_factory=dict)

    def unavailable(self) -> str | None:
        """Why this provider cannot run here and what to install, or None."""
        if not importlib.util.find_spec("onnxruntime"):
            return f"onnxruntime is not installed: install the {self.extra} extra"
        check_one_onnxruntime()
        import onnxruntime

        if self.name not in onnxruntime.get_available_providers():
            return f"onnxruntime has no {self.name}: install the {self.extra} extra"
        return None

    def load(self, artifact: Artifact, threads: int) -> Session:
        """A session whose whole graph runs on this provider."""
        return OnnxRuntimeSession(artifact, threads, self)


class OnnxRuntimeSession(Session):
    """An ONNX file in ONNX Runtime."""

    def __init__(self, artifact: Artifact, threads: int, engine: OnnxRuntime) -> None:
        super().__init__(artifact, threads)
        self._engine = engine
        self._session = self._start()

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        scores: Scores = self._session.run(
            [self.artifact.signature.scores], feeds(self.artifact.signature, user, sequence)
        )[0]
        return scores

    def placement(self) -> dict[str, int]:
        """Nodes per provider, from the profile of one run in a second session."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._start(profile=Path(folder) / "profile")
            length = self.artifact.model.max_length
            one = np.ones((2, length), dtype=np.int64)
            session.run(None, feeds(self.artifact.signature, one[:, 0].copy(), one))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return dict(
            Counter(
                event["args"]["provider"].removesuffix("ExecutionProvider")
                for event in events
                if event.get("cat") == "Node" and event["name"].endswith("kernel_time")
            )
        )

    def _start(self, profile: Path | None = None) -> Any:
        """An InferenceSession that cannot fall back.

        ONNX Runtime falls back to its CPU provider with no more than a log message. Three locks
        together close every way seen: the provider alone in the list without Python's retry,
        the CPU forbidden to take over nodes, and a look at what the session really uses.
        """
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as native

        # Its own exceptions have no base class in common.
        refusals: tuple[type[Exception], ...] = tuple(
            kind
            for kind in (*vars(native).values(), RuntimeError, ValueError)
            if isinstance(kind, type) and issubclass(kind, Exception)
        )

        engine = self._engine
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        if engine.name != "CPUExecutionProvider":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {
            key: value.format(threads=self.threads) for key, value in engine.options.items()
        }
        try:
            session = onnxruntime.InferenceSession(
                self.artifact.path, options, providers=[(engine.name, settings)], enable_fallback=0
            )
        except refusals as error:
            reason = str(error).strip().splitlines()[0]
            raise FallbackError(
                f"{engine.name} does not run all of {self.artifact.path.name}: {reason}"
            ) from error
        used = session.get_providers()
        if used[0] != engine.name:
            raise FallbackError(f"{engine.name} was asked for, and {used[0]} would run instead")
        return session


def feeds(signature: Signature, user: Ids, sequence: Ids) -> dict[str, npt.NDArray[Any]]:
    """The inputs of a session in the form that its file wants: int64[B] and int64[B, L]."""
    if signature.length is not None and sequence.shape[1] < signature.length:
        sequence = np.pad(sequence, ((0, 0), (signature.length - sequence.shape[1], 0)))
    if signature.user_is_column:
        user = user[:, None]
    if signature.dtype != "int64":
        user, sequence = user.astype(signature.dtype), sequence.astype(signature.dtype)
    return {signature.user: user, signature.sequence: sequence}


def check_one_onnxruntime() -> None:
    """Refuse an environment where onnxruntime distributions overwrote one another.

    Raises:
        ProviderError: more than one is installed.
    """
    present = []
    for name in ONNXRUNTIME_DISTRIBUTIONS:
        try:
            present.append(f"{name} {distribution(name).version}")
        except PackageNotFoundError:
            continue
    if len(present) > 1:
        raise ProviderError(
            f"{' and '.join(present)} are installed over each other (all write the folder "
            "onnxruntime); uninstall all of them, then install exactly one"
        )


cpu = OnnxRuntime("CPUExecutionProvider", "cpu")
openvino = OnnxRuntime(
    "OpenVINOExecutionProvider",
    "openvino",
    {"device_type": "CPU", "precision": "FP32", "num_of_threads": "{threads}", "num_streams": "1"},
)
cuda = OnnxRuntime("CUDAExecutionProvider", "gpu")
tensorrt = OnnxRuntime("TensorrtExecutionProvider", "gpu")
