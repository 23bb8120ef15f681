"""MLServer: a runtime of one's own for the Open Inference Protocol."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from recommender import Recommender


class Recommendations(MLModel):
    """Recommends items, in the model's own ids."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = Recommender()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Recommend ten items for one user."""
        inputs = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        items, scores = self.model.best(inputs["USER_ID"].item(), inputs["SEQ"][0].tolist(), 10)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("topk_ids", np.array([items])),
                NumpyCodec.encode_output("topk_scores", np.array([scores], np.float32)),
            ],
        )
