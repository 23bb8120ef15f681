"""Session settings of `ssept tune`, in a file that benchmarks and servers read."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ssept.errors import SseptError
from ssept.files import cache_folder, write_json

SCHEMA = 1

Value = str | int | float | bool


class SettingsError(SseptError):
    """A file of settings that cannot be used here."""


@dataclass(frozen=True)
class Settings:
    """How a session is started and fed.

    Attributes:
        threads: that a call may use.
        options: the provider's own, where they differ from its defaults.
        batch: sequences in a call; a server's largest batch.
    """

    threads: int = 1
    options: dict[str, Value] = field(default_factory=dict)
    batch: int = 1


def default_path() -> Path:
    """Return the default file of `ssept tune`."""
    return cache_folder() / "tuned.json"


def write_settings(path: Path, cell: str, settings: Settings, about: dict[str, Any]) -> None:
    """Put a cell's settings into a file, beside those of other cells of the same machine.

    Args:
        path: the file; made if need be, and begun anew if it is of another CPU.
        cell: "variant-provider".
        settings: of that cell.
        about: how they were found, as plain JSON values.
    """
    cpu = _this_cpu()
    cells: dict[str, Any] = {}
    if path.is_file():
        kept = _read(path)
        cells = kept["cells"] if kept["cpu"] == cpu else {}
    cells[cell] = asdict(settings) | {"about": about}
    write_json(path, {"schema": SCHEMA, "cpu": cpu, "cells": cells})


def read_settings(path: Path) -> dict[str, Settings]:
    """Read the settings in a file, by "variant-provider".

    Raises:
        SettingsError: the file is missing or broken, or was made on another CPU.
    """
    value = _read(path)
    cpu = _this_cpu()
    if value["cpu"] != cpu:
        raise SettingsError(
            f"{path}: tuned on {value['cpu']}, but this machine has {cpu}; run `ssept tune` here"
        )
    fields = ("threads", "options", "batch")
    return {
        cell: Settings(**{name: entry[name] for name in fields})
        for cell, entry in value["cells"].items()
    }


def _this_cpu() -> str:
    # Imported here: `ssept --help` does not need it.
    from ssept.measure.machine import read_machine

    return read_machine().cpu


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise SettingsError(
                f"{path}: schema {value['schema']!r:.40}; this version reads {SCHEMA}"
            )
        if not (isinstance(value["cpu"], str) and isinstance(value["cells"], dict)):
            raise TypeError("cpu is not a string, or cells is not a table")
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; `ssept tune` writes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: not a file of `ssept tune`: {error!r:.200}") from error
    return value
