"""What looks alike: cells, tiles and samples found by their embedding."""
