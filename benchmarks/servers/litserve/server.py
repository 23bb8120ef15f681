"""LitServe: the steps of a request, in a process of the model's own."""

import os

import litserve
from recommender import Recommender


class Recommendations(litserve.LitAPI):
    """Recommends items, in the model's own ids."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.model = Recommender()

    def decode_request(self, request: dict) -> tuple[int, list[int], int]:
        """Take the fields from the body."""
        return request["user_id"], request["sequence"], request.get("top_k", 10)

    def predict(self, asked: tuple[int, list[int], int]) -> tuple[list[int], list[float]]:
        """Recommend items."""
        return self.model.best(*asked)

    def encode_response(self, found: tuple[list[int], list[float]]) -> dict:
        """Name the fields of the answer."""
        items, scores = found
        return {"top_items": items, "scores": scores}


if __name__ == "__main__":
    server = litserve.LitServer(
        Recommendations(api_path="/predict"),
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
