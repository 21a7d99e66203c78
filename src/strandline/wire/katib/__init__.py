"""Katib's Suggestion protocol."""
