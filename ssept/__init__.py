"""A benchmark harness for serving SSE-PT, a personalised transformer for recommendation.

`ssept.load(checkpoint_or_artifact, variant=…, provider=…)` gives a session with `scores` and
`recommend`; `ssept.shipped_checkpoint()` is a checkpoint to begin with; `ssept.SavedRuns(path)` has
the numbers and plots of what the matrix measured. What `__all__` names is public, with the options
and exit codes of the commands; every other module may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssept.errors import SseptError
from ssept.installation import shipped_checkpoint

if TYPE_CHECKING:
    from ssept.providers import load
    from ssept.report.page.saved_runs import SavedRuns

__all__ = ["SavedRuns", "SseptError", "load", "shipped_checkpoint"]

# Imported when they are used: a package that they need may be broken, see `ssept.cli`.
_LATER = {"SavedRuns": "ssept.report.page.saved_runs", "load": "ssept.providers"}


def __getattr__(name: str) -> Any:
    """Import what is imported later."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
