"""Pixels of a run: where they are read, their size, their tissue, their scale."""
