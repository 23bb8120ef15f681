"""FastAPI as its tutorial has it: one handler, which blocks on the model."""

from fastapi import FastAPI
from pydantic import BaseModel
from recommender import Recommender

app = FastAPI()
model = Recommender()


class Request(BaseModel):
    """A user and what they have seen, in the model's own ids."""

    user_id: int
    sequence: list[int]
    top_k: int = 10


class Recommendation(BaseModel):
    """The best items of all, best first."""

    top_items: list[int]
    scores: list[float]


@app.post("/predict")
async def predict(request: Request) -> Recommendation:
    """Recommend items."""
    items, scores = model.best(request.user_id, request.sequence, request.top_k)
    return Recommendation(top_items=items, scores=scores)
