"""The kinds of hosts of a fleet, as a TOML file names them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssept.errors import SseptError
from ssept.files.toml import read_toml

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,60}")
FIELDS = ("options", "python", "cpus", "runtime_env")
EXPECTED = f"expected a table for each kind of host, with {', '.join(FIELDS)}, all optional"


@dataclass(frozen=True, kw_only=True)
class HostKind:
    """One kind of host.

    Attributes:
        name: of the kind, and of the Ray resource that such a node has.
        options: of the matrix on it, beside those of all.
        python: that has the packages there; empty for the Python of Ray's worker.
        cpus: that the matrix may use; None for all.
        runtime_env: of Ray, beside the folder with the code: an image, packages.
    """

    name: str
    options: Sequence[str] = ()
    python: str = ""
    cpus: int | None = None
    runtime_env: dict[str, Any] = field(default_factory=dict)


def read_hosts(path: Path) -> list[HostKind]:
    """Read the kinds of hosts from a TOML file, a table for each.

        [c7i]
        options = ["--providers=cpu,openvino"]
        python = "/opt/ssept/bin/python"

    Raises:
        SseptError: the file cannot be read, or a table or a field is not as above.
    """
    tables = read_toml(path)
    if not tables:
        raise SseptError(f"{path}: is empty; {EXPECTED}")
    return [_kind(path, name, fields) for name, fields in tables.items()]


def _kind(path: Path, name: str, fields: Any) -> HostKind:
    if not NAME.fullmatch(name):
        raise SseptError(f"{path}: {name!r:.80}: expected a name of letters, digits, - and _")
    where = f"{path}: [{name}]"
    if not isinstance(fields, dict):
        raise SseptError(f"{where}: {EXPECTED}")
    for unknown in fields.keys() - {*FIELDS}:
        raise SseptError(f"{where}: {unknown!r:.80}: expected one of {', '.join(FIELDS)}")
    options = fields.get("options", [])
    if not isinstance(options, list) or not all(isinstance(each, str) for each in options):
        raise SseptError(
            f'{where}: options: expected a list of strings, such as ["--providers=cpu"]'
        )
    if not isinstance(python := fields.get("python", ""), str):
        raise SseptError(f"{where}: python: expected the path of an interpreter on these hosts")
    cpus = fields.get("cpus")
    if cpus is not None and (not isinstance(cpus, int) or isinstance(cpus, bool) or cpus < 1):
        raise SseptError(f"{where}: cpus: expected a whole number of at least 1")
    if not isinstance(runtime_env := fields.get("runtime_env", {}), dict):
        raise SseptError(f"{where}: runtime_env: expected a table with the fields of Ray")
    return HostKind(name=name, options=options, python=python, cpus=cpus, runtime_env=runtime_env)
