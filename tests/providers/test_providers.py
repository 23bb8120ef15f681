"""Providers: really used or refused, and what a session promises."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ssept
from ssept.data.dataset import Dataset
from ssept.errors import ArtifactError, ProviderError, SseptError
from ssept.providers import PROVIDERS, Budget, budget, nvidia, onnxruntime, openvino
from ssept.providers.session import Session, top_k
from ssept.variants import VARIANTS, build
from tests.conftest import batch
from tests.helpers.matrix import ROOT, run_matrix

TORCH = ("torch", "torch")
ONNX = [("onnx", provider) for provider in ("cpu", "openvino", "openvino_native")]
BF16 = ("onnx", "openvino_native_bf16")


def available(provider: str) -> None:
    if reason := PROVIDERS[provider].unavailable():
        pytest.skip(reason)


@pytest.mark.parametrize(("variant", "provider"), ONNX)
def test_float32_agrees_with_torch(
    small_checkpoint: Path, small: Dataset, variant: str, provider: str
) -> None:
    torch = ssept.load(small_checkpoint, *TORCH)
    session = ssept.load(small_checkpoint, variant, provider)
    random = np.random.default_rng(0)
    for size, length in ((1, 50), (7, 50), (64, 20), (3, 1), (1, 1), (1, 50)):
        user, sequence = batch(random, small.users, small.items, size, length)
        expected, actual = torch.scores(user, sequence), session.scores(user, sequence)
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)


def test_openvino_compiled_for_each_shape_agrees_too(
    small_checkpoint: Path, small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "MOST_SHAPES", 2)
    plain, reshaped = (
        ssept.load(small_checkpoint, "onnx", "openvino_native", options={"reshape": reshape})
        for reshape in (False, True)
    )
    random = np.random.default_rng(0)
    for size, length in ((1, 50), (3, 50), (3, 20), (1, 50)):  # the third shape drops the first
        user, sequence = batch(random, small.users, small.items, size, length)
        expected, actual = plain.scores(user, sequence), reshaped.scores(user, sequence)
        np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)


SIGNALLED = """
import gc, itertools, signal, sys
import ssept

seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
orders = list(itertools.permutations(range(3)))
for order in orders:
    sessions = {n: ssept.load(sys.argv[1], "onnx", name) for n, name in enumerate(sys.argv[2:])}
    for number in order:
        del sessions[number]
        gc.collect()
        signal.raise_signal(signal.SIGINT)
print(len(seen))
"""


@pytest.mark.parametrize("native", range(4))
def test_a_signal_is_handled_whatever_session_ends_first(
    small_checkpoint: Path, native: int
) -> None:
    """Here since OpenVINO's plugins must end in the reverse order of their beginning."""
    providers = ["openvino_native"] * native + ["openvino"] * (3 - native)
    for provider in providers:
        available(provider)
    argv = [sys.executable, "-c", SIGNALLED, str(small_checkpoint), *providers]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert (run.returncode, run.stdout) == (0, "18\n"), run.stderr


def test_bfloat16_is_another_precision_and_within_its_own_budget(
    small_checkpoint: Path, small: Dataset
) -> None:
    available(BF16[1])
    torch, session = (ssept.load(small_checkpoint, *cell) for cell in (TORCH, BF16))
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 64, 50)
    error = np.abs(session.scores(user, sequence) - torch.scores(user, sequence)).max()
    assert budget("onnx", "openvino_native").max_score_error < error < budget(*BF16).max_score_error


def test_a_budget_is_the_wider_of_the_variants_and_the_providers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert budget("onnx", "cpu") == Budget(1e-4, 0.999, 0.005)
    wide = replace(PROVIDERS["cpu"], max_score_error=0.2, min_overlap=0.9, max_ndcg_loss=0.02)
    monkeypatch.setitem(PROVIDERS, "wide", wide)
    assert budget("onnx", "wide") == Budget(0.2, 0.9, 0.02)
    loose = replace(VARIANTS["onnx"], max_score_error=3.0, max_ndcg_loss=0.03)
    monkeypatch.setitem(VARIANTS, "loose", loose)
    assert budget("loose", "wide") == Budget(3.0, 0.9, 0.03)


@pytest.mark.parametrize(("variant", "provider"), [TORCH, *ONNX])
def test_scores_are_the_callers_own(small_checkpoint: Path, variant: str, provider: str) -> None:
    session = ssept.load(small_checkpoint, variant, provider)
    first = session.scores([1], [[5, 6, 7]])
    kept = first.copy()
    session.scores([2], [[8, 9, 10]])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(session.scores([1], [[5, 6, 7]]), kept)


@pytest.mark.parametrize(("variant", "provider"), [TORCH, *ONNX])
def test_arrays_may_be_read_only_and_views(
    small_checkpoint: Path, variant: str, provider: str
) -> None:
    session = ssept.load(small_checkpoint, variant, provider)
    wide = np.arange(1, 61).reshape(2, 30)
    wide.setflags(write=False)
    np.testing.assert_array_equal(
        session.scores(wide[:, 0], wide[:, ::2]),
        session.scores([1, 31], np.ascontiguousarray(wide[:, ::2])),
    )


@pytest.mark.parametrize(("provider", "name"), [("cuda", "CUDA"), ("tensorrt", "Tensorrt")])
def test_a_missing_provider_says_what_to_install(
    small_checkpoint: Path, provider: str, name: str
) -> None:
    reason = PROVIDERS[provider].unavailable()
    assert reason == f"onnxruntime has no {name}ExecutionProvider: install the gpu extra"
    with pytest.raises(ProviderError, match="install the gpu extra"):
        ssept.load(small_checkpoint, "onnx", provider)


def test_tensorrt_without_its_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["TensorrtExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "no_gpu", lambda: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    reason = PROVIDERS["tensorrt"].unavailable()
    assert reason == "libnvinfer is not found: install the TensorRT that onnxruntime needs"


@pytest.mark.parametrize("provider", ["torch_cuda", "torch_cuda_bf16"])
def test_torch_on_a_machine_without_cuda_says_so(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setattr(nvidia, "DRIVER", "libno-such-driver.so.1")
    assert PROVIDERS[provider].unavailable() == (
        "no NVIDIA driver: libno-such-driver.so.1 is not found"
    )


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_build_on_a_machine_without_a_gpu_says_so(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers",
        lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    driver = SimpleNamespace(cuInit=lambda flags: 100)
    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name: driver)
    reason = PROVIDERS[provider].unavailable()
    assert reason == "the NVIDIA driver finds no GPU (cuInit returned 100)"


def test_a_cpu_build_of_torch_on_a_machine_with_a_gpu_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = SimpleNamespace(cuInit=lambda flags: 0)
    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    reason = PROVIDERS["torch_cuda"].unavailable()
    assert reason is not None
    assert "install a CUDA build of torch" in reason


def test_openvino_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for provider in ("openvino_native", "openvino_native_bf16"):
        reason = PROVIDERS[provider].unavailable()
        assert reason == "openvino is not installed: install the openvino-native extra"


def test_a_cpu_without_bfloat16_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8", "BIN"])
    monkeypatch.setattr("ssept.providers.openvino.core", lambda: fake)
    assert PROVIDERS["openvino_native_bf16"].unavailable() == (
        "OpenVINO computes no BF16 on this CPU, only FP32, INT8, BIN"
    )
    assert PROVIDERS["openvino_native"].unavailable() is None


def test_torch_compile_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = PROVIDERS["torch_compile"].unavailable()
    assert reason is not None
    assert "C++ compiler: no-such-compiler is not found" in reason


def test_a_pair_that_makes_no_sense_is_refused(small_checkpoint: Path) -> None:
    with pytest.raises(ProviderError, match="is a torch file"):
        ssept.load(small_checkpoint, "torch", "cpu")


def test_an_unknown_provider_is_refused_with_the_known_ones(small_checkpoint: Path) -> None:
    with pytest.raises(SseptError, match=", ".join(PROVIDERS)):
        ssept.load(small_checkpoint, provider="gpu")


def test_two_onnxruntimes_over_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime": "1.0", "onnxruntime-openvino": "2.0"}

    def distribution(name: str) -> SimpleNamespace:
        if name not in installed:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version=installed[name])

    monkeypatch.setattr(onnxruntime, "distribution", distribution)
    with pytest.raises(ProviderError, match=r"onnxruntime 1\.0 and onnxruntime-openvino 2\.0"):
        PROVIDERS["cpu"].unavailable()


def test_a_broken_model_file_is_an_error_of_the_provider(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    artifact = replace(build(small_checkpoint, "onnx"), path=broken)
    with pytest.raises(ArtifactError, match=r"broken\.onnx: not an ONNX file"):
        PROVIDERS["cpu"].load(artifact, 1)


@pytest.mark.parametrize("provider", ["openvino", "openvino_native"])
def test_a_broken_model_file_is_an_error_of_openvino_too(
    small_checkpoint: Path, tmp_path: Path, provider: str
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    artifact = replace(build(small_checkpoint, "onnx"), path=broken)
    with pytest.raises(ArtifactError, match=r"broken\.onnx: not an ONNX file"):
        PROVIDERS[provider].load(artifact, 1)


@pytest.fixture
def session(small_checkpoint: Path) -> Session:
    return ssept.load(small_checkpoint)


def test_lists_are_as_good_as_arrays(session: Session) -> None:
    ids, scores = session.recommend([4], [[10, 11, 23, 99]], k=5)
    assert (ids.shape, ids.dtype) == ((1, 5), np.int64)
    assert (scores.shape, scores.dtype) == ((1, 5), np.float32)


def test_only_the_last_items_of_a_long_sequence_count(
    session: Session,
) -> None:
    longest = session.artifact.model.max_length
    sequence = np.arange(1, 2 * longest + 1)[None]
    np.testing.assert_array_equal(
        session.scores([1], sequence), session.scores([1], sequence[:, -longest:])
    )


@pytest.mark.parametrize(
    ("user", "sequence"), [([1, 2], [[1]]), ([[1]], [[1]]), ([1], [1]), ([1], [[]]), ([], [])]
)
def test_shapes_that_do_not_fit_are_refused(
    session: Session, user: list[int], sequence: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"expected \[B\]"):
        session.scores(user, sequence)


@pytest.mark.parametrize("k", [0, -1, 301])
def test_k_out_of_range_is_refused(session: Session, small: Dataset, k: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to {small.items}"):
        session.recommend([1], [[1]], k)


def test_recommend_is_the_sorted_scores(session: Session, small: Dataset) -> None:
    user, sequence = batch(np.random.default_rng(0), small.users, small.items, 8, 12)
    scores = session.scores(user, sequence)
    for k in (1, 10, small.items):
        ids, best = session.recommend(user, sequence, k)
        expected = np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :k] + 1
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(best, np.take_along_axis(scores, expected, axis=1))


def test_equal_scores_come_in_the_order_of_their_ids_and_padding_never() -> None:
    scores = np.array([[9, 1, 3, 3, 2, 3], [9, 5, 5, 5, 5, 5]], dtype=np.float32)
    ids, best = top_k(scores, 2)
    assert ids.tolist() == [[2, 3], [1, 2]]
    assert best.tolist() == [[3, 3], [5, 5]]


def test_a_new_provider_is_one_file_and_one_line(
    small_folder: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    run = run_matrix(
        tmp_path,
        "-p",
        "tests.helpers.toys.toy_providers",
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "--variants=torch,onnx",
        "--providers=toy",
        "--provider-option=toy.slope=-2",
        "--rounds=45",
        "--batch-sizes=1",
        "-k=latency or agreement or accuracy",
    )
    facts = run.cells("latency")["test_latency[onnx-toy-b001]"]
    assert facts["placement"] == {"toy": 1}
    assert facts["options"] == {"slope": -2.0}
    assert {f"test_accuracy[onnx-toy-{split}]" for split in ("val", "test")} == set(
        run.cells("accuracy")
    )
    # Nothing else knows of it, and yet it is held to torch's scores.
    assert "differ from torch's" in run.outcomes("failed")["test_agreement[onnx-toy]"]
    assert "torch-toy" in run.saved["ssept"]["not_applicable"]


PLUGIN = """
import ssept.providers
from ssept.providers import PROVIDERS, Provider

ssept.providers.__path__.append({folder!r})
PROVIDERS.update({{{line}}})
"""


@pytest.mark.slow
def test_the_page_on_adding_a_provider_can_be_followed_word_by_word(
    small_folder: Path, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "adding-a-provider.md").read_text(encoding="utf-8")
    module, line = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    outcome = page.split("the reason is the one that the module gives:")[1]
    reason = outcome.split("```")[1].strip()
    (tmp_path / "xnnpack.py").write_text(module)
    plugin = PLUGIN.format(folder=str(tmp_path), line=line)
    (tmp_path / "walk_through.py").write_text(plugin)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = [
        "-p",
        "walk_through",
        f"--data-dir={small_folder}",
        f"--checkpoint={small_checkpoint}",
        "--providers=xnnpack",
        "--provider-option=xnnpack.execution_mode=ORT_PARALLEL",
        "--variants=onnx",
        "-k=edge",
    ]
    skipped = run_matrix(tmp_path / "results", *options, "-rs")
    assert skipped.code == 0, skipped.output
    assert reason in " ".join(skipped.output.split())
    required = run_matrix(tmp_path / "results", *options, "--require=xnnpack")
    assert required.code == 1
    assert f"--require xnnpack: {reason}" in " ".join(required.output.split())
