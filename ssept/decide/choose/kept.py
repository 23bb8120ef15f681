"""What a choice has measured, kept as it is measured, so that an interrupted one goes on."""

from pathlib import Path
from typing import Any

from ssept.decide.journal import Record, append, provenance, read, utc_now
from ssept.files import sha256_json
from ssept.installation import PACKAGE
from ssept.results.provenance import code_sha256

SCHEMA = 1


class Kept:
    """Records of one choice in a file that has those of others too.

    They belong together by a hash of what was measured, by which code and on which machine. The
    code counts as it is, committed or not: another commit of the same code measures nothing again.
    """

    def __init__(self, path: Path, about: Record) -> None:
        """Read the file.

        Args:
            path: the file.
            about: what is measured, as plain JSON values.

        Raises:
            SseptError: a line of the file is no record.
        """
        self._path = path
        about = {**provenance(), **about}
        # Only of the machine what decides: its load and its temperature do not.
        machine = about.pop("machine")
        decisive = {name: machine[name] for name in ("cpu", "cpus_allowed", "packages")}
        commit = about.pop("commit")
        self._key = sha256_json({**about, **decisive, "code": code_sha256(PACKAGE)})
        found = read(path, "a choice", lambda record: (record["schema"], record["kind"]))
        self._records = [record for record in found if record.get("key") == self._key]
        if not self._records:
            self.add("run", **about, commit=commit, machine=machine)

    def all(self, kind: str) -> list[Record]:
        """Return the records of a kind, in the order in which they were added."""
        return [record for record in self._records if record["kind"] == kind]

    def add(self, kind: str, **values: Any) -> None:
        """Add a record, on the disk when this returns."""
        record = {
            "schema": SCHEMA,
            "key": self._key,
            "utc": utc_now(),
            "kind": kind,
            **values,
        }
        append(self._path, record)
        self._records.append(record)
