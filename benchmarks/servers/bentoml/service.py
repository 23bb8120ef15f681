"""BentoML: a service with one API, whose parameters are the fields of the body."""

import os

import bentoml
from pydantic import BaseModel
from recommender import Recommender


class Recommendation(BaseModel):
    """The best items of all, best first."""

    top_items: list[int]
    scores: list[float]


@bentoml.service(workers=int(os.environ["WORKERS"]))
class Recommendations:
    """Recommends items, in the model's own ids."""

    def __init__(self) -> None:
        self.model = Recommender()

    @bentoml.api(route="/predict")
    def predict(self, user_id: int, sequence: list[int], top_k: int = 10) -> Recommendation:
        """Recommend items."""
        items, scores = self.model.best(user_id, sequence, top_k)
        return Recommendation(top_items=items, scores=scores)
