"""What a report is made of: saved runs, one of them on another machine, and a folder of scale."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = sorted((Path(__file__).parents[1] / "data/runs").glob("*.json"))
POINTS = ((10_000, 50, 1), (100_000, 50, 1), (1_000_000, 50, 1))


def altered(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run of the same name, changed."""
    content = json.loads(path.read_text())
    change(content)
    copy = folder / path.name
    copy.write_text(json.dumps(content))
    return copy


def elsewhere(content: dict[str, Any]) -> None:
    """Say that a run was measured on another machine."""
    content["machine_info"]["ssept"] |= {"cpu": "Another CPU", "cores": 64}


def scale_folder(folder: Path) -> Path:
    """A folder as `ssept scale` leaves it, with a curve for two cells."""
    machine = {"cpu": "Some CPU", "cpus_allowed": 2, "packages": {"numpy": "2.4.6"}}
    common = {"schema": 1, "commit": "a" * 40, "utc": "2026-11-23T16:17:06+00:00"}
    common |= {"settings": {"threads": 1, "seconds": 3.0, "k": 10}, "machine": machine}
    lines = [
        common
        | {"point": dict(zip(("items", "length", "batch"), point, strict=True))}
        | {"cells": {f"{name}-cpu": _cell(name, point[0] / 1e5) for name in ("onnx", "fused_topk")}}
        for point in POINTS
    ]
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "scale.jsonl").write_text(text)
    return folder


def _cell(variant: str, ms: float) -> dict[str, Any]:
    speedup = {"value": 1.5, "low": 1.4, "high": 1.6}
    least = {"ms": ms / 3, "bound_by": "memory"}
    return {"variant": variant, "provider": "cpu", "speedup": speedup, "least": least} | {
        "median_ms": ms
    }
