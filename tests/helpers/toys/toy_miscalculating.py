"""A plugin of pytest under which ONNX Runtime multiplies integers wrongly."""

from ssept.providers.onnx import integer_products

integer_products.wrong_integer_products = lambda: "it is wrong"
