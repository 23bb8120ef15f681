"""What is measured, and in which order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.gpu.best import no_kernel
from benchmarks.gpu.networks import PLAIN, REWRITTEN
from benchmarks.gpu.session import Way

CATALOGS = (10_000, 100_000, 1_000_000)
BATCHES = (1, 8, 64, 512, 4096)
ENERGY_BATCHES = (1, 64, 4096)
DRY_CATALOGS, DRY_BATCHES = (10_000,), (1, 8)
KERNEL = f"{REWRITTEN}_kernel"
VARIANTS = (PLAIN, REWRITTEN, KERNEL)
# The largest difference of a score, and the least share of the CPU's best ten; as in PROVIDERS.
BUDGETS = {"fp32": (1e-3, 0.99), "tf32": (0.06, 0.99), "bf16": (0.5, 0.95)}


@dataclass(frozen=True, kw_only=True)
class GpuCell:
    """A network, a precision and a way to run it.

    Attributes:
        variant: a name in VARIANTS.
        precision: a name in BUDGETS.
        graphs: whether calls are CUDA graphs.
    """

    variant: str
    precision: str
    graphs: bool = False

    @property
    def network(self) -> str:
        """The network's name."""
        return PLAIN if self.variant == PLAIN else REWRITTEN

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def way(self) -> Way:
        """How the network is run."""
        return Way(kernel=self.variant == KERNEL, graphs=self.graphs, tf32=self.precision == "tf32")

    def provider(self, device: str) -> str:
        """Return the provider's name: that of the matrix, and what is not its default."""
        if device == "cpu":
            return "torch" if self.precision == "fp32" else f"torch_{self.precision}"
        precision = "" if self.precision == "fp32" else f"_{self.precision}"
        return f"torch_cuda{precision}{'_graphs' if self.graphs else ''}"

    @property
    def options(self) -> dict[str, bool]:
        """The options of that provider that are not the defaults."""
        named = {"cuda_graphs": self.graphs, "allow_tf32": self.precision == "tf32"}
        return {name: value for name, value in named.items() if value}

    def name(self, device: str) -> str:
        """Return the cell's name."""
        return f"{self.variant}-{self.provider(device)}"


BASELINE = GpuCell(variant=PLAIN, precision="fp32")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is to be measured on a device.

    Attributes:
        device: "cuda" or "cpu".
        catalogs: their numbers of items.
        batches: sequences in a call.
        left_out: variants and precisions that cannot run here, with the reasons.
    """

    device: str
    catalogs: Sequence[int]
    batches: Sequence[int]
    left_out: dict[str, str] = field(default_factory=dict)

    def cells(self) -> list[GpuCell]:
        """List the cells of each catalog and batch, the baseline first."""
        graphs = (False,) if self.device == "cpu" else (False, True)
        precisions = [name for name in BUDGETS if name not in self.left_out]
        return [
            GpuCell(variant=variant, precision=precision, graphs=graphed)
            for precision in precisions
            for variant in VARIANTS
            for graphed in graphs
            if variant not in self.left_out
        ]

    def steps(self) -> Iterator[tuple[int, int, GpuCell]]:
        """Iterate over batches, catalogs and cells, from few scores in a call to many."""
        sizes = ((batch, items) for batch in self.batches for items in self.catalogs)
        for batch, items in sorted(sizes, key=math.prod):
            for cell in self.cells():
                yield batch, items, cell

    def counts_energy(self, batch: int, items: int, cell: GpuCell) -> bool:
        """Whether a cell's energy is counted too, which takes a second."""
        few = items == min(self.catalogs) and batch in ENERGY_BATCHES
        return self.device != "cpu" and few and (cell.graphs or cell == BASELINE)


def plan(dry_run: bool) -> Plan:
    """Choose what can be measured here.

    Args:
        dry_run: whether on the CPU, with few cells.
    """
    left_out: dict[str, Any] = {}
    if reason := no_kernel():
        left_out[KERNEL] = reason
    if not dry_run:
        if torch.cuda.get_device_capability() < (8, 0):
            old = "this GPU is older than Ampere, whose matrix units know TF32 and BF16"
            left_out |= {"tf32": old, "bf16": old}
        return Plan(device="cuda", catalogs=CATALOGS, batches=BATCHES, left_out=left_out)
    left_out["tf32"] = "a GPU's alone"
    return Plan(device="cpu", catalogs=DRY_CATALOGS, batches=DRY_BATCHES, left_out=left_out)
