"""What to deploy: the best cell for a goal among those that keep all promises."""

from ssept.decide.choose.candidates import Candidate, Goal, Promises
from ssept.decide.choose.ranking import Recommendation
from ssept.decide.choose.saved import recommend

__all__ = ["Candidate", "Goal", "Promises", "Recommendation", "recommend"]
