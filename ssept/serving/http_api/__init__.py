"""The HTTP interface: routes, schemas, the page and the Open Inference Protocol."""
