"""Proof of use: which provider ran which operators, from ONNX Runtime's profile of a run."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

Event = dict[str, Any]

# A shape has one element per axis, and no tensor here or in TensorRT has more axes than this.
MOST_AXES = 8
# Profiled runs use a batch larger than that, so that no tensor of data looks like a shape.
PROOF_BATCH = MOST_AXES + 9
SHAPE_TYPES = ("int32", "int64", "bool")


def nodes_by_provider(events: Iterable[Event]) -> dict[str, int]:
    """How many nodes ran on which provider, by ONNX Runtime's name without its suffix."""
    return dict(
        Counter(
            event["args"]["provider"].removesuffix("ExecutionProvider")
            for event in _kernel_times(events)
        )
    )


def fallen_off(events: Iterable[Event], provider: str) -> list[str]:
    """List the operators that ran on another provider, each once, in the order of running.

    Arithmetic on shapes is left out: ONNX Runtime puts it on the CPU on purpose, where a GPU's
    kernels read their shapes from. It is recognised by its outputs: at most MOST_AXES integers or
    truth values, in a run with a batch of PROOF_BATCH, where every tensor of data has more.

    Args:
        events: the profile of one run with PROOF_BATCH sequences.
        provider: ONNX Runtime's name for it.
    """
    return list(
        dict.fromkeys(
            event["args"]["op_name"]
            for event in _kernel_times(events)
            if event["args"]["provider"] != provider and not _is_shape_arithmetic(event)
        )
    )


def _kernel_times(events: Iterable[Event]) -> Iterable[Event]:
    return (
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time")
    )


def _is_shape_arithmetic(event: Event) -> bool:
    """Whether all that a node puts out are a few integers; `[{"int64": [2]}]` in the profile."""
    outputs = [item for output in event["args"]["output_type_shape"] for item in output.items()]
    return bool(outputs) and all(
        kind in SHAPE_TYPES and math.prod(shape) <= MOST_AXES for kind, shape in outputs
    )
