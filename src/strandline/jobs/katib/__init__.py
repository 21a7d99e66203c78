"""A refuge for Katib's users: their Experiments converted, their trials suggested by us."""
