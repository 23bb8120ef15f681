"""A Docker engine for the tests: the machine's own, or one that root starts for them.

Without Docker's registry the base image is made by debootstrap. BuildKit is not in Debian's engine.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BASE = "debian:bookworm-slim"
PROGRAMS = ("docker", "dockerd", "docker-compose", "debootstrap", "iptables")
PACKAGES = ("docker.io", "containerd", "runc", "debootstrap", "docker-compose", "iptables")
START_SECONDS = 60
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Engine:
    """A running engine, used by its own programs, as a user does.

    Attributes:
        variables: environment variables of these programs.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = {**os.environ, "DOCKER_BUILDKIT": "0", **variables}

    def run(self, *command: str, check: bool = True, **options: Any) -> str:
        """Run a command; return what it writes to standard output, spaces around it removed."""
        options.setdefault("timeout", 1800)
        variables = self.variables | options.pop("variables", {})
        done = subprocess.run(
            command, capture_output=True, text=True, env=variables, check=False, **options
        )
        said = f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert not check or done.returncode == 0, said
        return done.stdout.strip()

    def docker(self, *arguments: str, **options: Any) -> str:
        """Run `docker`."""
        return self.run("docker", *arguments, **options)

    def build(self, name: str, root: Path) -> str:
        """Build the image of docker/Dockerfile.NAME from a clone; return the image's name."""
        image = f"ssept-{name}"
        # Behind a firewall the packages come through the machine's own network alone.
        place = ("--network=host", f"--file={root}/docker/Dockerfile.{name}", f"--tag={image}")
        self.docker("build", *place, str(root))
        return image

    @contextlib.contextmanager
    def container(self, image: str, *options: str) -> Iterator[str]:
        """Run a container in the background; yield its id; it is removed in the end."""
        name = self.docker("run", "--detach", "--init", *options, image)
        try:
            yield name
        finally:
            self.docker("rm", "--force", "--volumes", name)

    def wait_until_healthy(self, container: str, seconds: float = 120) -> None:
        """Wait until the container's own health check passes."""
        end = time.monotonic() + seconds
        while (state := self.health(container)) != "healthy":
            said = self.docker("logs", container, check=False)
            assert state == "starting", f"{container} is {state}: {said}"
            assert time.monotonic() < end, f"{container} is not healthy after {seconds} s: {said}"
            time.sleep(1)

    def health(self, container: str) -> str:
        """Return its state of health, or how it has ended."""
        form = "{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.ExitCode}}{{end}}"
        return self.docker("inspect", f"--format={form}", container)


class NoEngineError(Exception):
    """There is no engine, and none can be started here."""


def _refusal() -> str | None:
    """Say why there can be no engine here; None if there can be one."""
    if _answers({}):
        missing = [name for name in ("docker-compose",) if not shutil.which(name)]
        return f"{missing[0]} is not installed" if missing else None
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"no Docker engine answers, and not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "no Docker engine answers, and only root can start one"
    return None


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """Yield the machine's own engine if it answers, or start one for the time of the block.

    Raises:
        NoEngineError: there can be none.
    """
    if reason := _refusal():
        raise NoEngineError(reason)
    if _answers({}):
        engine = Engine({})
        _provide_base(engine)
        yield engine
        return
    # In a folder of a short name: a socket's path has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        variables = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
        # One that outlived its tests would answer at the addresses of the next one's containers.
        bound = ("setpriv", "--pdeathsig=TERM")
        command = (*bound, "dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec")
        place = (f"--host={variables['DOCKER_HOST']}", f"--pidfile={folder}/pid")
        with (folder / "log").open("w") as log:
            daemon = subprocess.Popen(
                [*command, *place], stdout=log, stderr=log, start_new_session=True
            )
        try:
            end = time.monotonic() + START_SECONDS
            while not _answers(variables):
                if daemon.poll() is not None or time.monotonic() > end:
                    last = (folder / "log").read_text(errors="replace").splitlines()[-1:]
                    raise NoEngineError(f"dockerd cannot be started here: {last}")
                time.sleep(0.5)
            engine = Engine(variables)
            _provide_base(engine)
            yield engine
        finally:
            daemon.terminate()
            daemon.wait(30)


def _answers(variables: Mapping[str, str]) -> bool:
    if not shutil.which("docker"):
        return False
    asked = subprocess.run(
        ["docker", "info"], capture_output=True, env={**os.environ, **variables}, check=False
    )
    return asked.returncode == 0


def _provide_base(engine: Engine) -> None:
    """Pull the base of the images, or make it by debootstrap where no registry answers."""
    if engine.docker("image", "ls", "--quiet", BASE):
        return
    with contextlib.suppress(AssertionError):
        engine.docker("pull", BASE, timeout=300)
        return
    places = engine.run(
        *("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"), "Created-By: Packages"
    )
    mirror = next(uri for uri, code in map(str.split, places.splitlines()) if code == "bookworm")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        engine.run(
            *("debootstrap", "--variant=minbase", "--include=ca-certificates"),
            *("bookworm", str(root), mirror),
        )
        engine.run("chroot", str(root), "apt-get", "clean")
        # Behind a firewall with certificates of its own, builds need those too.
        shutil.copyfile(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")
        archive = Path(name) / "base.tar"
        engine.run("tar", f"--directory={root}", f"--file={archive}", "--create", ".")
        certificates = f"ENV PIP_CERT={CERTIFICATES}"
        engine.docker("import", f"--change={certificates}", str(archive), BASE)
