"""The messages of docs/troubleshooting.md, "Running on a fleet"."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tests.project.messages.user import NOBODY, User, case


@case
def no_cluster(user: User) -> None:
    user.fleet(f"--address={NOBODY}")


@case
def ray_start(user: User) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    user.patch.setattr("ray.init", late)
    user.fleet("--address=local")


@case
def no_node(user: User) -> None:
    """A cluster without the nodes that are asked for."""

    class Ray:
        exceptions = SimpleNamespace(RayError=RuntimeError)

        def remote(self, task: object) -> Any:
            return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_, **__: 0))

        def wait(self, running: list[object], **_: object) -> tuple[list[object], list[object]]:
            return [], running

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 2.0}

        def cancel(self, *_: object, **__: object) -> None:
            pass

    @contextmanager
    def connected(*_: object) -> Iterator[Ray]:
        yield Ray()

    user.patch.setattr("ssept.decide.fleet.run.connected", connected)
    user.fleet("--patience=0.1")
