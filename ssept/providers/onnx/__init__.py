"""ONNX files and ONNX Runtime sessions: what the providers of ONNX models share."""
