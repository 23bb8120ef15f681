"""A session of ONNX Runtime that runs on one execution provider, or is refused."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ssept.artifacts import (
    EXACT_BEST,
    EXCLUDE,
    TOPK_IDS,
    TOPK_SCORES,
    Artifact,
    K,
    Signature,
    model_files,
)
from ssept.errors import FallbackError, ProviderError, one_line
from ssept.providers.onnx.proof import PROOF_BATCH, Event, fallen_off, nodes_by_provider
from ssept.providers.onnx.session_options import SessionOptions
from ssept.providers.session import Ids, Scores, Session, within_32_bits

CPU = "CPUExecutionProvider"
MOST_SAID = 300
Feeds = dict[str, npt.NDArray[Any]]
Result = TypeVar("Result")


class OnnxRuntimeSession(Session):
    """An ONNX file on one execution provider, all of it.

    ONNX Runtime falls back to its CPU provider with no more than a log message. Three locks
    together close every way seen: the provider alone in the list without Python's retry, the CPU
    forbidden to take over nodes, and a look at what the session really uses.

    Its results are copied once, into a new array. IO binding to arrays made before saves nothing
    on a CPU: at batch 1 the shipped model took 165 µs so and 167 µs without, 200 µs with inputs
    and outputs bound for each call (medians, one thread; ONNX Runtime 1.24.1).
    """

    whole_graph = True

    def __init__(
        self, artifact: Artifact, threads: int, provider: str, options: SessionOptions
    ) -> None:
        super().__init__(artifact, threads)
        self.provider = provider
        self.options = options
        self.ties_by_id = provider == CPU
        self.compiles_shapes = provider != CPU
        self.takes_any_id = provider == CPU
        self._session = self._start()

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        k = 0 if self.artifact.format == EXACT_BEST else 1
        return self._refusing(self._run, feeds(self.artifact.signature, user, sequence, k))

    def _head(self, user: Ids, sequence: Ids, k: int, exclude: Ids) -> tuple[Ids, Scores]:
        inputs = feeds(self.artifact.signature, user, sequence, k, exclude)
        return self._refusing(self._run_head, inputs)

    def _run(self, inputs: Feeds) -> Scores:
        scores: Scores = self._session.run([self.artifact.signature.scores], inputs)[0]
        return scores

    def _run_head(self, inputs: Feeds) -> tuple[Ids, Scores]:
        ids, scores = self._session.run([TOPK_IDS, TOPK_SCORES], inputs)
        return ids, scores

    def _refusing(self, run: Callable[[Feeds], Result], inputs: Feeds) -> Result:
        try:
            return run(inputs)
        except refusals() as error:
            # Up to 1.24 at least, Clip is wrong on x86 for int64 that need 33 bits, and Gather
            # fails then. Hardly anybody has such ids, so they are looked for only here.
            known = {name: within_32_bits(array) for name, array in inputs.items()}
            if any(known[name] is not array for name, array in inputs.items()):
                return self._refusing(run, known)
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise ProviderError(
                f"{self.provider} does not run {shapes}: {first_line(error)}"
            ) from error

    def placement(self) -> dict[str, int]:
        """Count the nodes per provider, from the profile of one run in a second session."""
        return nodes_by_provider(self._profile)

    @functools.cached_property
    def _profile(self) -> list[Event]:
        return self._profiled(self.whole_graph)

    def _profiled(self, whole_graph: bool) -> list[Event]:
        """Profile one run of PROOF_BATCH sequences in a session of its own."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(whole_graph, Path(folder) / "profile")
            length = self.artifact.model.max_length
            ones = np.ones((PROOF_BATCH, length), dtype=np.int64)
            user = ones[:, 0].copy()
            session.run(None, feeds(self.artifact.signature, user, ones, exclude=ones))
            text = Path(session.end_profiling()).read_text(encoding="utf-8")
        events: list[Event] = json.loads(text)
        return events

    def _start(self) -> Any:
        """Start an InferenceSession that cannot fall back."""
        try:
            return self._open(self.whole_graph)
        except refusals() as error:
            reason = self._operators_elsewhere() or first_line(error)
            raise FallbackError(
                f"{self.provider} does not run all of {self.artifact.path.name}: {reason}"
            ) from error

    def _operators_elsewhere(self) -> str:
        """Which operators the provider leaves to others once it may; empty if that fails too."""
        try:
            names = fallen_off(self._profiled(whole_graph=False), self.provider)
        except refusals():
            return ""
        return f"{', '.join(names)} would run on another provider" if names else ""

    def _open(self, whole_graph: bool, profile: Path | None = None) -> Any:
        import onnxruntime

        options = self._session_options(profile)
        if whole_graph and self.provider != CPU:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        chosen = self.options.profiled() if profile else self.options
        settings = chosen.of_provider(self.artifact, self.threads)
        session = onnxruntime.InferenceSession(
            self._model(), options, providers=[(self.provider, settings)], enable_fallback=0
        )
        used = session.get_providers()[0]
        if used != self.provider:
            given = ", ".join(f"{name}={value}" for name, value in settings.items())
            raise FallbackError(
                f"{self.provider} does not start, and {used} would run instead; standard error has "
                f"the reason. Its options: {given}"
            )
        return session

    def _model(self) -> Path | bytes:
        """Return what ONNX Runtime loads."""
        return model_files(self.artifact.path)[0]

    def _session_options(self, profile: Path | None) -> Any:
        import onnxruntime

        chosen, options = self.options, onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = chosen.inter_op_num_threads
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, chosen.graph_optimization_level
        )
        options.execution_mode = getattr(onnxruntime.ExecutionMode, chosen.execution_mode)
        options.enable_mem_pattern = chosen.enable_mem_pattern
        options.enable_cpu_mem_arena = chosen.enable_cpu_mem_arena
        spinning = str(int(chosen.allow_spinning))
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        options.log_severity_level = 4  # what is wrong comes as an exception
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        return options


def cpu_session(model: Path | bytes, *, optimized: bool = False) -> Any:
    """Open a plain session on the CPU provider: to look at a file, not to measure it.

    Args:
        model: the file, or its bytes.
        optimized: let ONNX Runtime change the graph; else its nodes are those of the file.

    Raises:
        Exception: one of `refusals`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error is raised as an exception
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Without Python's retry, which prints a banner to standard output.
    return onnxruntime.InferenceSession(model, options, providers=[CPU], enable_fallback=0)


@functools.cache
def refusals() -> tuple[type[Exception], ...]:
    """Return the types that ONNX Runtime raises; its own have no base class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    return tuple(
        kind
        for kind in (*vars(native).values(), RuntimeError, ValueError)
        if isinstance(kind, type) and issubclass(kind, Exception)
    )


def feeds(
    signature: Signature, user: Ids, sequence: Ids, k: int = 1, exclude: Ids | None = None
) -> Feeds:
    """Return the inputs of a session in the form that its file expects.

    Args:
        signature: of the file.
        user, sequence: int64[B] and int64[B, L].
        k, exclude: for a file with the top-k head, what it gives and leaves out beside the
            padding, int64[B, E], 0 for nothing.
    """
    if signature.length is not None and sequence.shape[1] < signature.length:
        sequence = np.pad(sequence, ((0, 0), (signature.length - sequence.shape[1], 0)))
    if signature.user_is_column:
        user = user[:, None]
    if signature.dtype != "int64":
        user, sequence = user.astype(signature.dtype), sequence.astype(signature.dtype)
    inputs: Feeds = {signature.user: user, signature.sequence: sequence}
    if signature.topk:
        inputs[K] = np.array([k])
        padding = np.zeros((len(user), 1), np.int64)
        left_out = exclude is not None and exclude.size
        inputs[EXCLUDE] = np.concatenate([padding, exclude], axis=1) if left_out else padding
    return inputs


def first_line(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, as `one_line`: it may quote the file."""
    lines = str(error).strip().splitlines()
    return one_line(next(iter(lines), type(error).__name__), MOST_SAID)
