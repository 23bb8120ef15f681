"""`python -m benchmarks.gpu` where there is no GPU: its networks, its kernel, what it saves."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu.best import by_blocks, by_scores
from benchmarks.gpu.rewritten import TorchBuilder
from ssept.cli import main
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.results.files import read_matrix_run
from ssept.results.schema import Agreement, Timed
from ssept.variants.rewrite.graphs import scores_graph

ROOT = Path(__file__).parents[2]
# What a machine with torch, numpy and onnx alone does not have.
OTHERS = (
    *("pandas", "scipy", "psutil", "tabulate", "platformdirs", "safetensors", "tqdm", "pytest"),
    *("onnxruntime", "onnxscript", "onnx_ir", "pytest_benchmark", "pynvml", "jinja2", "triton"),
)

WITHOUT = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: (
    None if name.partition(".")[0] in {missing!r} else found(name, *more)
)
"""


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, from the root folder."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def random_network(**sizes: int) -> SSEPT:
    """A network with gains and biases other than the ones and zeros of a fresh one."""
    torch.manual_seed(0)
    network = SSEPT(SSEPTConfig(**{"users": 30, "items": 70, "max_length": 20} | sizes)).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() == 1:
                weight.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.3)
    return network


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_rewritten_network_has_torchs_scores(blocks: int, heads: int) -> None:
    network = random_network(blocks=blocks, heads=heads)
    weights = {name: each.double().numpy() for name, each in network.state_dict().items()}
    rewritten = scores_graph(TorchBuilder(), network.config, weights)
    random = np.random.default_rng(0)
    for size, length in ((1, 1), (1, 20), (3, 7), (16, 20)):
        sequence = torch.from_numpy(random.integers(-3, 75, (size, length)))
        sequence[0, length // 2] = 0  # padding in the middle, or last
        user = torch.from_numpy(random.integers(-3, 35, size))
        with torch.inference_mode():
            scores = rewritten(user, sequence) @ rewritten.items.T
            torch.testing.assert_close(scores, network(user, sequence), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_kernel_finds_the_best() -> None:
    """In Triton's interpreter, in a process of its own: the choice is made at the first import."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    program = "from tests.matrix.test_gpu_command import compare_best; compare_best()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from benchmarks.gpu.kernel import _largest_of_blocks, constants

dtype, batch, tf32 = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "tf32"
fixed = constants(batch, 64, tf32=tf32, on_gpu=True)
types = {name: f"*{dtype}" for name in ("state", "items")} | {"largest": "*fp32"}
types |= dict.fromkeys(("batch", "rows", "width", "blocks"), "i32")
types |= dict.fromkeys(fixed, "constexpr")
made = compile(ASTSource(_largest_of_blocks, types, fixed), target=GPUTarget("cuda", 90, 32))
print(len(made.asm["cubin"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4096])
@pytest.mark.parametrize(("dtype", "precision"), [("fp32", "fp32"), ("fp32", "tf32"), ("bf16", "")])
def test_the_kernel_compiles_for_a_gpu(dtype: str, precision: str, batch: int) -> None:
    """By Triton's own compiler and NVIDIA's assembler, which need no GPU."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, dtype, str(batch), precision],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


def compare_best() -> None:
    """The kernel beside all scores: sizes that fill no tile, widths of no power of 2, ties."""
    generator = torch.Generator().manual_seed(0)
    for batch, items, width, k in ((1, 31, 5, 10), (3, 1000, 50, 10), (17, 513, 64, 40)):
        state = torch.randn((batch, width), generator=generator)
        table = torch.randn((items + 1, width), generator=generator)
        table[0] = 100 * state[0]  # padding would be the best
        ids, scores = by_blocks(state, table, k)
        right_ids, right = by_scores(state, table, k)
        torch.testing.assert_close(scores, right, atol=1e-4, rtol=0)
        assert (ids == right_ids).all()
        equal = torch.ones_like(table)
        ids, scores = by_blocks(state, equal, k)
        assert (ids >= 1).all()
        assert (ids <= items).all()
        assert all(len(set(row)) == k for row in ids.tolist())
        torch.testing.assert_close(scores, state.sum(1, keepdim=True).expand(-1, k))


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a dry run says, and the run that it saved."""
    out = tmp_path_factory.mktemp("gpu") / "out"
    done = command("--dry-run", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    return done.stdout, path


@pytest.mark.slow
def test_a_dry_run_is_saved_as_a_run_of_torch(dry_run: tuple[str, Path]) -> None:
    said, path = dry_run
    run = read_matrix_run(path)
    assert {facts.provider for facts in run.facts} == {"torch", "torch_bf16"}
    timed = [facts for facts in run.facts if isinstance(facts, Timed)]
    assert {(facts.variant, facts.batch) for facts in timed} >= {
        (variant, batch) for variant in ("torch", "fused") for batch in (1, 8)
    }
    agreements = [facts for facts in run.facts if isinstance(facts, Agreement)]
    assert all(facts.top10_overlap > 0.95 for facts in agreements)
    benchmarks = json.loads(path.read_text())["benchmarks"]
    assert any(each["extra_info"].get("golden") for each in benchmarks)
    assert "no GPU: copies" in said
    assert str(path) in said


@pytest.mark.slow
def test_report_and_compare_read_it(
    dry_run: tuple[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, path = dry_run
    assert main(["report", str(path)]) == 0
    assert "fused-torch" in capsys.readouterr().out
    assert main(["compare", str(path), str(path)]) == 0


@pytest.mark.slow
def test_torch_numpy_and_onnx_are_enough(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(missing=OTHERS))
    done = command(
        *("--dry-run", "--minutes=0.2", "--out", str(tmp_path / "out")),
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pandas is not installed" in done.stdout
    assert "random weights" in done.stdout
    (path,) = (tmp_path / "out").iterdir()
    assert read_matrix_run(path).benchmarks


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = command("--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "--dry-run" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--out=x", "--minutes=0"], ["--out=x", "--minutes=a"]])
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("--dry-run", "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
