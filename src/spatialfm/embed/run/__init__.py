"""The run itself: blocks, workers, what is kept of them, progress."""
