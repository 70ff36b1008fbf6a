"""Methods that carry labels of a few rows to all others: arrays in and out, one file per method."""
