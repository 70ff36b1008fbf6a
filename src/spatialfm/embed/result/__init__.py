"""Rows of a run: gathered, reduced, written, recorded."""
