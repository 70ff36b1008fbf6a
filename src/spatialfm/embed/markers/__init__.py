"""Channels to what a model is given of a marker: panel, ids, sequences, protein embeddings."""
