"""As much of `kustomize build` as this project's folders use; anything else in them is refused.

Kustomize is in no package index. Where it is installed, tests compare what it gives with this.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
FILE = "kustomization.yaml"
KNOWN = {
    "apiVersion",
    "kind",
    "namespace",
    "nameSuffix",
    "resources",
    "labels",
    "images",
    "patches",
}


def rendered(folder: Path) -> list[Manifest]:
    """The manifests of a folder, in the order of its resources."""
    (asked,) = _documents(folder / FILE)
    assert set(asked) <= KNOWN, f"{folder}: {set(asked) - KNOWN}"
    manifests = [each for name in asked["resources"] for each in _resource(folder / name)]
    for patch in asked.get("patches", []):
        (change,) = _documents(folder / patch["path"])
        (target,) = [each for each in manifests if _identity(each) == _identity(change)]
        manifests[manifests.index(target)] = merged(target, change)
    for manifest in manifests:
        _adapt(manifest, asked)
    return manifests


def merged(base: Any, change: Any) -> Any:
    """A strategic merge: None removes, and of lists of named things those of one name are merged.

    Things that are changed come first, as in kustomize: it matters where a variable uses another.
    """
    if isinstance(base, dict) and isinstance(change, dict):
        both = {key: merged(base.get(key), value) for key, value in change.items()}
        return {key: value for key, value in (base | both).items() if value is not None}
    if isinstance(base, list) and isinstance(change, list) and "name" in change[0]:
        own, changes = ({each["name"]: each for each in part} for part in (base, change))
        new = {name: merged(own.get(name), each) for name, each in changes.items()}
        return [*new.values(), *(each for name, each in own.items() if name not in new)]
    return change


def pods(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The pod templates."""
    return [m["spec"]["template"] for m in manifests if m["kind"] in ("Deployment", "Job")]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _resource(path: Path) -> list[Manifest]:
    return rendered(path) if path.is_dir() else _documents(path)


def _documents(path: Path) -> list[Manifest]:
    return [*yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def _adapt(manifest: Manifest, asked: Manifest) -> None:
    """Apply to a manifest what a folder asks for all of its own."""
    about = manifest["metadata"]
    about["name"] += asked.get("nameSuffix", "")
    if "namespace" in asked:
        about["namespace"] = asked["namespace"]
    for label in asked.get("labels", []):
        about.setdefault("labels", {}).update(label["pairs"])
        for pod in pods([manifest]):
            assert label["includeTemplates"]
            pod["metadata"]["labels"].update(label["pairs"])
    for container in [each for pod in pods([manifest]) for each in containers(pod)]:
        for image in asked.get("images", []):
            name, _, tag = container["image"].partition(":")
            if name == image["name"]:
                name, tag = image.get("newName", name), image.get("newTag", tag)
                container["image"] = f"{name}:{tag}"
