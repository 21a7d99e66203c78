"""A real Kubernetes for tests, built from source and gone without a trace afterwards."""
