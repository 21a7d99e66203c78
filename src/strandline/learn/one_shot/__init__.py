"""Searches whose networks share their weights: trained once, scored many times."""
