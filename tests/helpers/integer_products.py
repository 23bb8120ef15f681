"""A mark for tests of what multiplies 8-bit integers by ONNX Runtime in another process."""

import pytest

from ssept.providers.onnx.integer_products import wrong_integer_products

# In the test's own process the hook in fixtures/preconditions.py does the same.
REASON = wrong_integer_products() or ""
right_integer_products = pytest.mark.skipif(bool(REASON), reason=REASON)
