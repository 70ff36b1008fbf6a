"""Parts of an image: artifacts, annotated regions, kinds of tissue, labels of tiles."""
