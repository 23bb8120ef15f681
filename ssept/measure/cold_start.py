"""Cold start and peak memory of a cell, in a process of its own.

`python -m ssept.measure.cold_start` is that process: it reads a request from standard input and
writes the figures to standard output.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssept.artifacts import Artifact, artifact_from, artifact_to
from ssept.children import command, finished, last_words
from ssept.errors import ProviderError
from ssept.providers.options import Value

TIMEOUT_S = 300
TOP_K = 10
BYTES_PER_KIB = 1024


@dataclass(frozen=True)
class ColdStart:
    """Time and memory until the first answer, with warm file system caches.

    Attributes:
        import_s: from the start of the process until the packages are imported, seconds.
        load_s: loading the model, seconds.
        first_s: the first recommendation of one sequence, seconds.
        peak_rss_bytes: the most memory that the process held.
    """

    import_s: float
    load_s: float
    first_s: float
    peak_rss_bytes: int

    @property
    def total_s(self) -> float:
        """From the start of the process to the first answer, seconds."""
        return self.import_s + self.load_s + self.first_s


def cold_start(
    artifact: Artifact,
    provider: str,
    threads: int,
    options: Mapping[str, Value] | None = None,
) -> ColdStart:
    """Start a process, load the artifact on the provider, answer once.

    Raises:
        ProviderError: the process failed; with its last line.
    """
    request = {
        "artifact": artifact_to(artifact),
        "provider": provider,
        "threads": threads,
        "options": dict(options or {}),
        "started_s": time.monotonic(),
    }
    program = command("ssept.measure.cold_start")
    done = finished(program, input=json.dumps(request), timeout=TIMEOUT_S)
    if done.returncode:
        last = last_words(done.stderr, lines=1)
        raise ProviderError(
            f"{artifact.path.name} on {provider} ended with {done.returncode}: {last}"
        )
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))


def peak_rss_bytes() -> int:
    """Return the most memory that this process has held since it began.

    Not `getrusage`: its figure also counts the parent's memory at the moment of the fork.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * BYTES_PER_KIB
    raise ProviderError("this system does not report the peak memory of a process")


def _answer(request: dict[str, Any]) -> ColdStart:
    import numpy as np

    from ssept.providers import load

    imported = time.monotonic()
    artifact = artifact_from(Path(), request["artifact"])
    session = load(
        artifact,
        provider=request["provider"],
        threads=request["threads"],
        options=request["options"],
    )
    loaded = time.monotonic()
    sequence = np.ones((1, artifact.model.max_length), dtype=np.int64)
    session.recommend(sequence[:, 0], sequence, TOP_K)
    answered = time.monotonic()
    return ColdStart(
        imported - request["started_s"], loaded - imported, answered - loaded, peak_rss_bytes()
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_answer(json.load(sys.stdin)))))
