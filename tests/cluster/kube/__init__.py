"""The operator's runtime on a real apiserver."""
