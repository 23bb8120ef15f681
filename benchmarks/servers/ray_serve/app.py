"""Ray Serve: a deployment that takes Starlette's request, behind Ray's proxy."""

import os
import signal

import ray
from ray import serve
from recommender import Recommender
from starlette.requests import Request


@serve.deployment(num_replicas=int(os.environ["WORKERS"]), ray_actor_options={"num_cpus": 0.5})
class Recommendations:
    """Recommends items, in the model's own ids."""

    def __init__(self) -> None:
        self.model = Recommender()

    async def __call__(self, request: Request) -> dict:
        """Recommend items."""
        asked = await request.json()
        items, scores = self.model.best(asked["user_id"], asked["sequence"], asked.get("top_k", 10))
        return {"top_items": items, "scores": scores}


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Recommendations.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()
