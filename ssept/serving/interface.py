"""Names, shapes and types of the served model, which Triton and the HTTP server share."""

from dataclasses import dataclass

from ssept.artifacts import TOPK_IDS, TOPK_SCORES

MODEL = "recommender_model_onnx"
USER_ID, SEQ, SCORES = "USER_ID", "SEQ", "scores"
DEFAULT_K = 100  # best items in the outputs


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model.

    Attributes:
        name: of the tensor in the ONNX file and in requests.
        type: Triton's name of what it holds, "TYPE_INT64" or "TYPE_FP32".
        dims: its shape without the batch axis.
    """

    name: str
    type: str
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.type} {list(self.dims)}"


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of the model, the same in all its versions."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.inputs, *self.outputs)))


def model_interface(length: int, items: int | None, k: int | None) -> Interface:
    """Return the inputs and outputs of the served model.

    Args:
        length: the length of the sequences.
        items: the size of the catalog if all scores are an output, else None.
        k: how many best items are an output, or None.
    """
    outputs = []
    if items is not None:
        outputs.append(Tensor(SCORES, "TYPE_FP32", (items + 1,)))
    if k is not None:
        outputs.append(Tensor(TOPK_IDS, "TYPE_INT64", (k,)))
        outputs.append(Tensor(TOPK_SCORES, "TYPE_FP32", (k,)))
    inputs = (Tensor(USER_ID, "TYPE_INT64", (1,)), Tensor(SEQ, "TYPE_INT64", (length,)))
    return Interface(inputs, tuple(outputs))
