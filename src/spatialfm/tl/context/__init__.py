"""Cells in the context of their tissue: what surrounds them, near and far, read by a model."""
