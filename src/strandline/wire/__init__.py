"""Wire formats: Python code generated from `protos/` by `make generate`."""
