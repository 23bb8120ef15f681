"""Errors that a user can fix: one line each, naming what is wrong and what to do."""

SHOWN = 40  # characters of a value or a name in an error
QUOTED = 100  # and of a line of a file


class SseptError(Exception):
    """Bad input or a machine that lacks something: the message says what and how to go on.

    The command line prints it without a traceback and exits with 1.
    """


class DataError(SseptError):
    """A data file or folder that cannot be used; the message names the file and the line."""


class CheckpointError(SseptError):
    """A checkpoint that cannot be read, or that belongs to other data."""


class TrainingError(SseptError):
    """A training that cannot go on: its numbers have become useless."""


class MetricsError(SseptError, ValueError):
    """Scores from which no figure follows; the message says what is wrong with them."""


class ArtifactError(SseptError):
    """A model file that cannot be used, or is not the one that its manifest describes."""


class ProviderError(SseptError):
    """An execution provider that is not installed, refuses its options or cannot run a model."""


class FallbackError(ProviderError):
    """A provider was asked for, and another one would run all or a part of the graph."""


class MiscalculationError(ProviderError):
    """A provider would give wrong results on this machine, which others of its releases do not."""


class RunError(SseptError):
    """A saved run that cannot be read; the message names the file and the field."""


class GateError(SseptError):
    """The gate could not measure: a side that is not there, cannot be installed or fails to run."""


class ServerError(SseptError):
    """A model server that cannot be started here, does not start, or has ended."""


class LoadError(SseptError):
    """A load test without figures that could be used: requests failed, or it gave none."""


class AnswerError(SseptError):
    """A timed call, or a request under load, was not answered as the same one was alone."""


def printable(text: str) -> str:
    """Escape what a terminal cannot print, or would obey."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def shortened(text: str, longest: int = SHOWN) -> str:
    """Cut a text, for an error that must stay one line to read."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def one_line(text: str, longest: int) -> str:
    """Write a text, which may be of any origin, as one line that a terminal can print."""
    return shortened(printable(" ".join(text[: 4 * longest].split())), longest)


def quoted(text: str, longest: int = QUOTED) -> str:
    """Quote a text of any origin and length, for an error of one line."""
    whole = repr(text[: longest + 1])
    return f"{whole[0]}{shortened(whole[1:-1], longest)}{whole[-1]}"
