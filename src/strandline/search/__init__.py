"""Spaces, search algorithms, schedulers and the engine that asks and tells them."""
