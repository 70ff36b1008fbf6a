"""Where to look: crops around cells, tiles over an image, and what of a window goes to which cell."""
