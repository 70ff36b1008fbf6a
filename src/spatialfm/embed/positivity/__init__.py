"""Maps of probability that a network makes of one marker at a time, summed over cells as they come."""
