"""The messages of docs/troubleshooting.md, "Starting the HTTP server"."""

import socket
import sys
import urllib.error
import urllib.request

import pytest

from ssept.serving.settings import ServerSettings
from tests.helpers.servers.serving import SECONDS, live
from tests.project.messages.user import User, case


@case
def port_in_use(user: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        user.ssept("serve", f"--port={other.getsockname()[1]}", f"--model={user.onnx()}")


@case
def served_with_other_data(user: User) -> None:
    own = ["--variant=torch", "--provider=torch"]
    user.serve(user.checkpoint, *own, f"--data-dir={user.other_data()}")


@case
def no_id_map(user: User) -> None:
    user.serve(user.onnx())


@case
def worker_ended(user: User) -> None:
    supervisor = "ssept.serving.runtime.supervisor"
    user.patch.setattr(f"{supervisor}.configure_logging", lambda _: None)
    user.patch.setattr(f"{supervisor}.command", lambda *_: [sys.executable, "-c", "exit(3)"])
    user.serve(user.onnx(), "--workers=2")


@case
def foreign_host(user: User) -> None:
    with live(ServerSettings(model=user.onnx())) as server:
        address = f"http://127.0.0.1:{server.port}/healthz"
        request = urllib.request.Request(address, headers={"Host": "shop.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=SECONDS)
        user.said.append(refused.value.read().decode())
