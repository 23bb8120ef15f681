"""The networks that are measured: the shipped one, and others of larger catalogs at random."""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.chip import operations
from benchmarks.gpu.rewritten import Rewritten, TorchBuilder
from benchmarks.gpu.session import GpuSession, Way
from ssept.artifacts import SEED, Artifact, Model
from ssept.files import sha256, sha256_json
from ssept.installation import shipped_folder
from ssept.measure.golden import golden_path
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.providers.session import Ids, Scores
from ssept.variants.rewrite.graphs import scores_graph

SHIPPED = "SSE_PT10kemb"
SIZES = SSEPTConfig(users=10_000, items=10_000)  # the shipped one's
PLAIN, REWRITTEN = "torch", "fused"


class Plain(nn.Module):
    """The network as it was trained."""

    def __init__(self, network: SSEPT) -> None:
        super().__init__()
        self.network = network

    @property
    def items(self) -> Tensor:
        """The item table, [N + 1, item_dim]."""
        return self.network.item.weight

    def forward(self, user: Tensor, sequence: Tensor) -> Tensor:
        """State of the last position: int64[B] and int64[B, L] to [B, item_dim]."""
        return self.network.state(user, sequence)


@dataclass
class Catalog:
    """A checkpoint's network, on the CPU, and its copies on a device.

    Attributes:
        model: what a saved run says of it.
        network: with its weights in float32.
        golden: the file of its golden outputs, None for random weights.
        why_random: why the weights are random where the shipped ones were wanted.
    """

    model: Model
    network: SSEPT
    golden: Path | None = None
    why_random: str | None = None
    _copies: dict[Any, nn.Module] = field(default_factory=dict)
    _exact: dict[tuple[int, int], tuple[Scores, tuple[Ids, Scores]]] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many items it has."""
        return self.model.items

    @cached_property
    def rewritten(self) -> Rewritten:
        """The rewritten network, on the CPU in float32."""
        weights = {name: each.double().numpy() for name, each in self.network.state_dict().items()}
        made: Rewritten = scores_graph(TorchBuilder(), self.network.config, weights)
        return made.eval()

    @cached_property
    def on_cpu(self) -> GpuSession:
        """The network as it was trained, on the CPU in float32."""
        return self.session(PLAIN, "cpu", torch.float32, Way())

    def exact(self, batch: int, k: int) -> tuple[Scores, tuple[Ids, Scores]]:
        """Return the CPU's scores of random inputs, and its best k; computed once."""
        if (batch, k) not in self._exact:
            user, sequence = self.model.random_inputs(batch)
            self._exact[batch, k] = (
                self.on_cpu.scores(user, sequence),
                self.on_cpu.recommend(user, sequence, k),
            )
        return self._exact[batch, k]

    @cached_property
    def operations(self) -> int:
        """Additions and multiplications in the products that one sequence takes, rewritten."""
        user, sequence = (torch.from_numpy(each) for each in self.model.random_inputs(1))
        with torch.inference_mode():
            return operations(lambda: self.rewritten(user, sequence) @ self.rewritten.items.T)

    @property
    def read_parameters(self) -> int:
        """How many numbers of the network each call reads: all but the users' table."""
        return self.network.config.parameters - self.network.user.weight.numel()

    def session(self, name: str, device: str, dtype: torch.dtype, way: Way) -> GpuSession:
        """Start a session of a copy of its own.

        Args:
            name: PLAIN or REWRITTEN.
            device, dtype: where and in which type the weights lie.
            way: how it is run.
        """
        key = name, device, dtype
        if key not in self._copies:
            own = self.rewritten if name == REWRITTEN else Plain(self.network)
            self._copies[key] = copy.deepcopy(own).to(device, dtype)
        network: Any = copy.deepcopy(self._copies[key])
        return GpuSession(self.artifact(name, dtype), network, device, way)

    def artifact(self, name: str, dtype: torch.dtype) -> Artifact:
        """Describe a network as an artifact, without a file."""
        size = sum(each.numel() for each in self.network.state_dict().values()) * dtype.itemsize
        return Artifact(
            path=Path(f"{self.model.checkpoint} ({name}, {dtype})"),
            variant=name,
            format="torch",
            model=self.model,
            sha256=sha256_json([self.model.checkpoint_sha256, name, str(dtype)]),
            size_bytes=size,
            tools={},
        )


def shipped() -> Catalog:
    """Load the shipped network; with random weights of its sizes where that is not possible."""
    path = shipped_folder() / f"{SHIPPED}.safetensors"
    try:
        from ssept.model.checkpoint import load_checkpoint
    except ImportError as error:  # pandas and safetensors
        return at_random(SIZES.items, f"{error.name} is not installed")
    checkpoint = load_checkpoint(path)
    config = checkpoint.model.config
    model = Model(
        checkpoint=SHIPPED,
        checkpoint_sha256=sha256(path),
        data_name=checkpoint.data["name"],
        data_hash=checkpoint.data["data_hash"],
        users=config.users,
        items=config.items,
        max_length=config.max_length,
    )
    return Catalog(model, checkpoint.model, golden_path(path))


def at_random(items: int, why: str | None = None) -> Catalog:
    """Make a network of this many items with random weights, the same in each call."""
    torch.manual_seed(SEED)
    config = SSEPTConfig(users=SIZES.users, items=items)
    network = SSEPT(config).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    name = f"random_{items}"
    model = Model(
        checkpoint=name,
        checkpoint_sha256=sha256_json([name, SEED]),
        data_name="",
        data_hash="",
        users=config.users,
        items=items,
        max_length=config.max_length,
    )
    return Catalog(model, network, why_random=why)
