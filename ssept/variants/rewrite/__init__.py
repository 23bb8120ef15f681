"""The rewritten network: weights folded, operators joined, built as an ONNX graph."""
