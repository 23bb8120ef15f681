"""What an edge install pulls in, by the metadata of the installed packages."""

from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NOT_ON_THE_EDGE = {"torch", "onnx", "onnxscript", "safetensors"}


def pulled_in(extras: set[str]) -> set[str]:
    """ssept with these extras, and all that they need here; no further than what is installed."""
    found: set[str] = set()
    pending = [("ssept", {"", *extras})]
    while pending:
        name, chosen = pending.pop()
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:  # another extra's onnxruntime is installed
            continue
        for requirement in needed:
            marker = requirement.marker
            applies = marker is None or any(marker.evaluate({"extra": extra}) for extra in chosen)
            other = canonicalize_name(requirement.name)
            if applies and other not in found:
                pending.append((other, {"", *requirement.extras}))
    return found


def test_an_edge_install_has_no_torch_onnx_or_safetensors() -> None:
    edge = pulled_in({"cpu", "bench"})
    assert {"numpy", "onnxruntime", "pytest-benchmark", "pluggy"} <= edge
    assert not edge & NOT_ON_THE_EDGE


@pytest.mark.parametrize("name", sorted(NOT_ON_THE_EDGE))
def test_they_come_with_the_train_extra(name: str) -> None:
    assert name in pulled_in({"train"})
