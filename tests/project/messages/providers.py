"""The messages of docs/troubleshooting.md, "Choosing providers"."""

from types import SimpleNamespace

import onnx
import onnxruntime
import pytest

from ssept.measure.settings import Settings, write_settings
from ssept.providers import PROVIDERS
from tests.project.messages.user import User, case


@case
def no_provider(user: User) -> None:
    user.patch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    user.doctor()


@case
def no_compiler(user: User) -> None:
    user.patch.setenv("CXX", "no-such-compiler")
    user.doctor()


@case
def no_driver(user: User) -> None:
    def load(name: str) -> None:
        raise OSError(name)

    user.patch.setattr("ssept.providers.nvidia.ctypes", SimpleNamespace(CDLL=load))
    user.patch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    user.doctor()


@case
def required_provider(user: User) -> None:
    data = [f"--data-dir={user.data}", f"--checkpoint={user.checkpoint}"]
    user.matrix(*data, "--providers=cuda", "--require=cuda")


@case
def other_providers(user: User) -> None:
    user.serve(user.checkpoint, "--provider=torch", "--variant=fused_topk")


def need_openvino() -> None:
    if why := PROVIDERS["openvino"].unavailable():
        pytest.skip(why)


@case
def falls_back(user: User) -> None:
    """An operator that OpenVINO does not know, in front of the scores."""
    need_openvino()
    path = user.onnx(scores="raw", outputs=("raw",))
    model = onnx.load(path)
    model.graph.node.append(
        onnx.helper.make_node(
            "Scaler", ["raw"], ["scores"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]
        )
    )
    model.graph.output[0].name = "scores"
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    user.serve(path, "--provider=openvino")


@case
def does_not_start(user: User) -> None:
    need_openvino()
    tuned = user.folder / "tuned.json"
    write_settings(tuned, "custom-openvino", Settings(options={"device_type": "GPU"}), {})
    user.serve(user.onnx(), "--provider=openvino", f"--tuned={tuned}")
