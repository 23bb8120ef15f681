"""A benchmark harness for serving SSE-PT, a personalised transformer for recommendation.

`ssept.load(checkpoint_or_artifact, variant=…, provider=…)` gives a session with `scores` and
`recommend`.
"""

from ssept.providers import load

__all__ = ["load"]
