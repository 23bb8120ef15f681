"""The server that one would write first, to compare with: `uvicorn benchmarks.baseline_server:app`.

One handler that blocks on a session of the plain export (the file that MODEL names), has all scores
returned as a NumPy array, and sorts them.
"""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
)


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
    """Score all items and sort them."""
    user = np.array([request.user_id], dtype=np.int64)
    sequence = np.array([request.sequence], dtype=np.int64)
    scores = session.run(["scores"], {"user": user, "sequence": sequence})[0][0]
    best = np.argsort(-scores[1:])[: request.top_k] + 1
    return Recommendation(top_items=best.tolist(), scores=scores[best].tolist())
