"""Decide what to do: (spec, observed) → actions, pure. Adapters and operators do it."""
