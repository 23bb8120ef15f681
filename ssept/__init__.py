"""A benchmark harness for serving SSE-PT, a personalised transformer for recommendation.

`ssept.load(checkpoint_or_artifact, variant=…, provider=…)` gives a session with `scores` and
`recommend`; `ssept.shipped_checkpoint()` is a checkpoint to begin with. What `__all__` names is
public, with the options and exit codes of the commands; every other module may change.
"""

from ssept.errors import SseptError
from ssept.installation import shipped_checkpoint
from ssept.providers import load

__all__ = ["SseptError", "load", "shipped_checkpoint"]
