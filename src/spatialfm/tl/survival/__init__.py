"""Time to an event: curves, tests, regressions, scores, and models applied elsewhere."""
