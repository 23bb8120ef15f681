"""A benchmark harness for serving SSE-PT, a personalised transformer for recommendation.

`ssept.load(checkpoint_or_artifact, variant=…, provider=…)` gives a session with `scores` and
`recommend`; `ssept.shipped_checkpoint()` is a checkpoint to begin with. What `__all__` names is
public, with the options and exit codes of the commands; every other module may change.
"""

from typing import TYPE_CHECKING, Any

from ssept.errors import SseptError
from ssept.installation import shipped_checkpoint

if TYPE_CHECKING:
    from ssept.providers import load

__all__ = ["SseptError", "load", "shipped_checkpoint"]


def __getattr__(name: str) -> Any:
    """Import `load` when it is used: a package that it needs may be broken, see `ssept.cli`."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ssept.providers import load

    return load
