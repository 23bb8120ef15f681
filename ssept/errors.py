"""Errors that a user can fix: one line each, naming what is wrong and what to do."""


class SseptError(Exception):
    """Bad input or a machine that lacks something: the message says what and how to go on.

    The command line prints it without a traceback and exits with 1.
    """


class DataError(SseptError):
    """A data file or folder that cannot be used; the message names the file and the line."""


class CheckpointError(SseptError):
    """A checkpoint that cannot be read, or that belongs to other data."""


class ArtifactError(SseptError):
    """A model file that cannot be used, or is not the one that its manifest describes."""


class ProviderError(SseptError):
    """An execution provider that is not installed, refuses its options or cannot run a model."""


class FallbackError(ProviderError):
    """A provider was asked for, and another one would run all or a part of the graph."""


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
