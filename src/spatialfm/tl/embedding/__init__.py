"""Images to embeddings: one row a cell or a tile, and what the encoder looks at."""
