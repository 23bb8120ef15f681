"""The messages of docs/troubleshooting.md, "Starting Triton"."""

import socket
import sys
from types import SimpleNamespace

from tests.project.messages.user import User, case


@case
def no_triton_extra(user: User) -> None:
    user.without("tritonclient")
    user.ssept("triton", "repository", user.folder / "out", f"--onnx={user.onnx()}")


@case
def no_model_folder(user: User) -> None:
    user.ssept("triton", "serve", user.folder)


@case
def triton_port(user: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        user.triton(f"--ports={other.getsockname()[1]},8001,8002")


@case
def no_docker(user: User) -> None:
    user.patch.setenv("PATH", str(user.folder))
    user.triton("--ports=free", "--docker")


@case
def triton_python(user: User) -> None:
    user.patch.setattr("ssept.serving.triton.environment.PYTHONS", ((3, 98), (3, 99)))
    user.triton("--ports=free")


@case
def no_environment(user: User) -> None:
    here = sys.version_info[:2]
    user.patch.setattr("ssept.serving.triton.environment.PYTHONS", (here, here))
    user.patch.setenv("SSEPT_CACHE_DIR", str(user.folder / "cache"))
    failed = SimpleNamespace(returncode=1, stderr="no matching distribution", stdout="")
    user.patch.setattr("ssept.environments.finished", lambda *_, **__: failed)
    user.triton("--ports=free")
