"""What two representations of the same cells, tiles or samples have in common."""
