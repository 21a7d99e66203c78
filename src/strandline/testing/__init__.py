"""Builders, doubles and the contract suites that every adapter passes."""
