"""The file of a sweep: its measurements so far and, at the end, its result."""

import json
from collections.abc import Callable
from pathlib import Path

from ssept.decide.journal import Record
from ssept.errors import SseptError
from ssept.files import write_json

SCHEMA = 1
FILES, RATIOS = "files", "ratios"
CONDITIONS = ("settings", "machine")


class Measurements:
    """Measurements of the same settings on the same machine, in a file that is always whole."""

    def __init__(self, path: Path, about: Record) -> None:
        """Continue a file, or begin one.

        Args:
            path: the file.
            about: what it says of itself besides; under each name in CONDITIONS what measurements
                must share to be judged together.

        Raises:
            SseptError: the file is not one of a sweep, or of other conditions.
        """
        self._path = path
        self._content: Record = {
            "schema": SCHEMA,
            **json.loads(json.dumps(about)),  # lists for tuples, as when read again
            "measured": {FILES: {}, RATIOS: {}},
        }
        if path.exists():
            self._content = self._begun()

    def found(self, kind: str, name: str, measure: Callable[[], Record]) -> Record:
        """Return a measurement; it is made and kept if it is missing.

        Args:
            kind: FILES or RATIOS.
            name: of what is measured.
            measure: makes it.
        """
        known: dict[str, Record] = self._content["measured"][kind]
        if name not in known:
            known[name] = measure()
            write_json(self._path, self._content)
        return known[name]

    def finish(self, result: Record) -> None:
        """Add the result."""
        write_json(self._path, self._content | {"result": result})

    def _begun(self) -> Record:
        """Return the content of the file, if this sweep can continue it."""
        try:
            content: Record = json.loads(self._path.read_text(encoding="utf-8"))
            schema = content["schema"]
            conditions = {kind: dict(content[kind]) for kind in CONDITIONS}
            _ = [dict(content["measured"][kind]) for kind in (FILES, RATIOS)]
        except (ValueError, KeyError, TypeError) as error:
            raise SseptError(
                f"{self._path}: not a file of `ssept sweep`: write to another one (--out), or "
                "remove it"
            ) from error
        if schema != SCHEMA:
            raise SseptError(f"{self._path}: schema {schema}; this version reads {SCHEMA}")
        for kind, there in conditions.items():
            for name, here in self._content[kind].items():
                if there.get(name) != here:
                    raise SseptError(
                        f"{self._path}: measured with {name} {there.get(name)}, and now it is "
                        f"{here}: write to another file (--out), or remove this one"
                    )
        return content
