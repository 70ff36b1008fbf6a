"""Images to embeddings: one row per cell or tile, and what the encoder looks at."""
