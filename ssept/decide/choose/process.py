"""A fresh process for the arms of a race.

`python -m ssept.decide.choose.process CONNECTION` is that process. It answers requests from the
file descriptor CONNECTION, which it inherits, until the other end is closed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from ssept.children import command, last_words
from ssept.decide.choose.timing import ranked, timed
from ssept.errors import ProviderError, SseptError

ANSWER_S = 600.0  # ten times the longest that a compiler was seen to take
FUNCTIONS: dict[str, Callable[..., Any]] = {each.__name__: each for each in (timed, ranked)}


class FreshProcess:
    """A fresh process that answers requests; a context manager."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `__exit__` closes it
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this module
                command("ssept.decide.choose.process", theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # some engines print there
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C reaches the program that started this one alone
            )

    def __enter__(self) -> "FreshProcess":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._errors.close()

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of FUNCTIONS over there; return what it returns.

        Raises:
            SseptError: what the function raised.
            ProviderError: the process ended, or gave no answer in time.
        """
        try:
            self._connection.send((function.__name__, arguments))
            if not self._connection.poll(ANSWER_S):
                raise ProviderError(f"no answer within {ANSWER_S:.0f} s")
            answer = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise ProviderError(self._ending()) from error
        if isinstance(answer, SseptError):
            raise answer
        return answer

    def _ending(self) -> str:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        self._errors.seek(0)
        said = last_words(self._errors.read().decode(errors="replace"), lines=1)
        return f"its process {how}" + (f": {said}" if said else "")


def _answer(name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return FUNCTIONS[name](*arguments)
    except SseptError as error:
        return error


def main() -> None:
    """Answer requests."""
    with Connection(int(sys.argv[1])) as connection, contextlib.suppress(EOFError):
        while True:
            name, arguments = connection.recv()
            connection.send(_answer(name, arguments))


if __name__ == "__main__":
    main()
