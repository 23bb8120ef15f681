"""The cells of a gate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GateCell:
    """A variant on a provider at a batch size."""

    variant: str
    provider: str
    batch: int

    @property
    def pair(self) -> str:
        """Variant and provider: `onnx-cpu`."""
        return f"{self.variant}-{self.provider}"

    @property
    def id(self) -> str:
        """As in the matrix: `onnx-cpu-b001`."""
        return f"{self.pair}-b{self.batch:03}"
