"""Heads: what turns a backbone's features into one logit a label. One head per file."""
